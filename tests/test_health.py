from dataclasses import replace

import plotly.graph_objects as go
import pytest

from dashboard.flink import Checkpoints, read_checkpoints
from dashboard.health import Reading, judge, moving_picture, stations
from dashboard.meter import BOUNDS_MS, Meter, Second, quantile_ms
from dashboard.panels import latency_histogram, rates
from dashboard.theme import GREEN_RED
from pipeline.hub import Hub, Update

WELL = Reading(
    feed="simulator", feed_age_s=0.1, clock_offset_ms=None, gaps=0, feed_trades=1_000_000,
    trades_per_s=200, folded_trades=999_990,
    folded_per_s=200, watermark_lag_s=1.0, job_age_s=0.1, late=3, lost=0, rejected=0, closed_candles=100,
    checkpoint_age_s=4, checkpoint=None, checkpoint_every_s=5, redis_connected=True, redis_memory_bytes=2**27,
    redis_commands_per_s=900, revisions_per_s=150, latency=(0, 90, 10), redis_clients=4, symbols=8,
    reconnects=0, malformed=0, websocket_clients=2,
)  # fmt: skip


def states(reading: Reading) -> dict[str, str]:
    return {station.name: station.health for station in stations(reading)}


def test_a_pipeline_that_is_well_is_healthy_in_all_its_parts() -> None:
    assert set(states(WELL).values()) == {"good"}


@pytest.mark.parametrize(
    ("change", "station", "health"),
    [
        ({"feed_age_s": 12.0}, "Feed", "warn"),
        ({"feed_age_s": 60.0}, "Feed", "bad"),
        ({"watermark_lag_s": 61.0}, "Flink job", "bad"),
        ({"lost": 1}, "Flink job", "bad"),
        ({"rewound": 1}, "Flink job", "warn"),
        ({"redis_writes": "refused: memory is full"}, "Redis", "bad"),
        ({"checkpoint_age_s": 20.0}, "Flink job", "warn"),
        ({"checkpoint": Checkpoints(1, 3_000, 1, 1, 0)}, "Flink job", "warn"),
        ({"checkpoint": Checkpoints(1, 30, 2**31, 1, 0)}, "Flink job", "bad"),
        ({"gaps": 1}, "Feed", "warn"),
        ({"clock_offset_ms": -900}, "Feed", "warn"),
        ({"feed_trades": 1_200_000}, "Flink job", "warn"),
        ({"rejected": 1}, "Redis", "warn"),
        ({"reconnects": 1}, "Subscriber and web", "warn"),
        ({"malformed": 1}, "Subscriber and web", "bad"),
        ({"redis_connected": False}, "Subscriber and web", "bad"),
        ({"latency": (0,) * len(BOUNDS_MS) + (5,)}, "Subscriber and web", "bad"),
    ],
)
def test_a_part_is_as_healthy_as_its_worst_figure(change: dict[str, object], station: str, health: str) -> None:
    assert states(replace(WELL, **change))[station] == health  # type: ignore[arg-type]


def test_flinks_own_word_on_its_newest_checkpoint_is_read() -> None:
    answer = {
        "counts": {"restored": 1, "total": 9, "in_progress": 0, "completed": 8, "failed": 1},
        "latest": {
            "completed": {
                "latest_ack_timestamp": 1_700_000_000_050,
                "end_to_end_duration": 21,
                "state_size": 4_096,
            }
        },
    }
    assert read_checkpoints(answer) == Checkpoints(1_700_000_000_050, 21, 4_096, 8, 1)
    assert read_checkpoints({**answer, "latest": {"completed": None}}) is None


def test_what_is_not_known_is_idle_not_healthy() -> None:
    assert judge(None, 1, 2) == "idle"
    unknown = replace(WELL, feed="", feed_age_s=None, checkpoint_age_s=None, latency=(0,))
    assert "\u2013" in [figure["value"] for figure in moving_picture(unknown)["stations"][3]["figures"]]


def test_every_figure_says_what_is_healthy() -> None:
    assert all(figure.hint for station in stations(WELL) for figure in station.figures)


def test_the_meter_counts_by_second_and_shows_silence_as_zero() -> None:
    now = [1_000.5]
    hub = Hub()
    meter = Meter(hub, clock=lambda: now[0])
    hub.messages += 2
    hub.apply(
        [Update("BTC", "1m", 0, False, 1, 1, 1_000_497, ""), Update("BTC", "1m", 0, True, 1, 2, 999_000, "")]
    )
    now[0] = 1_003.2
    seconds = meter.seconds()
    assert [(second.at_s, second.revisions, second.closed) for second in seconds] == [
        (1_000, 2, 1), (1_001, 0, 0), (1_002, 0, 0),
    ]  # fmt: skip
    assert seconds[0].latency[BOUNDS_MS.index(5)] == 1 and seconds[0].latency[-1] == 1
    assert go.Figure(rates(seconds, GREEN_RED)) and go.Figure(latency_histogram(seconds[0].latency, GREEN_RED))


def test_what_is_read_from_history_tells_nothing_of_latency() -> None:
    now = [1_000.5]
    hub = Hub()
    meter = Meter(hub, clock=lambda: now[0])
    hub.apply([Update("BTC", "1m", 0, True, 1, 1, 1, "")])
    now[0] = 1_001.5
    (second,) = meter.seconds()
    assert second.closed == 1 and not any(second.latency)


def test_quantiles_are_the_upper_bounds_of_their_bins() -> None:
    assert quantile_ms((), 0.5) is None
    assert quantile_ms((50, 49, 0, 1), 0.5) == 1
    assert quantile_ms((50, 48, 0, 2), 0.99) == 10


def test_a_second_of_catching_up_is_told_in_words_and_leaves_the_axis_to_the_usual_ones() -> None:
    live = [Second(at_s=at_s, revisions=300, closed=8) for at_s in range(1, 60)]
    caught_up = rates([Second(at_s=0, revisions=45_000, closed=45_000), *live], GREEN_RED)["layout"]
    assert caught_up["yaxis"]["range"] == [0, 900]
    assert caught_up["annotations"][0]["text"] == "highest: 45,000 a second"
    assert "range" not in rates(live, GREEN_RED)["layout"]["yaxis"]
    assert "annotations" not in rates([Second(at_s=0), Second(at_s=1)], GREEN_RED)["layout"]
