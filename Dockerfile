# One image for every process of Candlecast: JobManager, TaskManager, submitter, feed, dashboard.
# Java and Flink come as Python packages, as everywhere else.

FROM python:3.12.11-slim-bookworm AS packages
WORKDIR /build
RUN python -m venv /opt/venv
COPY requirements.txt constraints.txt pyproject.toml ./
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements.txt

FROM python:3.12.11-slim-bookworm
# /data is given away here: a new named volume takes its owner from the image.
RUN groupadd --gid 10001 candlecast \
 && useradd --uid 10001 --gid candlecast --home-dir /tmp --no-create-home candlecast \
 && install -d -o candlecast -g candlecast -m 0750 /data
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY LICENSE app.py ./
COPY .streamlit .streamlit
COPY pipeline pipeline
COPY dashboard dashboard
COPY pages pages
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STATE_DIR=/data
USER 10001:10001
CMD ["streamlit", "run", "app.py"]
