"""The same job on a Flink cluster: JobManager and TaskManagers as processes of their own.

* ``nodes``: how a JobManager and a TaskManager are started, here or in a container;
* ``local``: a cluster on this machine, its processes kept alive;
* ``rest``: what the JobManager is asked over HTTP;
* ``control``: submit, savepoint, stop, resume, rescale;
* ``keeper``: submits the job again when the cluster has lost it.
"""

from pipeline.cluster.control import JobControl
from pipeline.cluster.local import LocalCluster
from pipeline.cluster.rest import Job

__all__ = ["Job", "JobControl", "LocalCluster"]
