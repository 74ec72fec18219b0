"""Who starts a run of several processes: JAX's own variables, MPI's, and the clusters that JAX detects."""

import os
import socket
import subprocess

import pytest
from support.probe_processes import command, encoded

from clipjax import parallel
from clipjax.errors import InputError

SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "node[1-2]", "SLURM_LOCALID": "0"}
OPEN_MPI_4 = {"OMPI_MCA_orte_hnp_uri": "4096.0;tcp://127.0.0.1:34911", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
JAX = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
EXPLICIT = {"coordinator_address": "10.0.0.1:1234", "num_processes": 4, "process_id": 3}


@pytest.fixture
def launched(monkeypatch):
    """`parallel.launched` in an environment of nothing but these variables, which JAX's detection reads itself."""

    def call(**variables: str):
        for name in list(os.environ):
            if name.startswith(("SLURM_", "OMPI_", "PMI_", "MV2_", "JAX_COORDINATOR", "JAX_NUM_P", "JAX_PROCESS")):
                monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return parallel.launched(os.environ)

    return call


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, None),
        (dict(zip(JAX, ("10.0.0.1:1234", "4", "3"), strict=True)), EXPLICIT),
        (dict(zip(JAX, ("10.0.0.1:1234", "1", "0"), strict=True)), None),
        (SLURM | {"SLURM_NTASKS": "4", "SLURM_PROCID": "2"}, {}),
        (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        (SLURM | {"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "JAX_NUM_PROCESSES": "1"}, None),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # a batch script that starts one command without srun
        (SLURM | {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234"}, EXPLICIT),
        (OPEN_MPI_4 | {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, {}),
        (OPEN_MPI_4 | {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}, None),
        ({"PMI_SIZE": "1", "PMI_RANK": "0"}, None),
        ({"PMI_SIZE": "4", "PMI_RANK": "3", "JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234"}, EXPLICIT),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}, None),  # no `kubernetes` here
    ],
)
def test_what_starts_a_run_of_several_processes(launched, variables, wanted, recwarn):
    assert launched(**variables) == wanted
    assert not recwarn.list


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "a:1"}, "JAX_NUM_PROCESSES and JAX_PROCESS_ID must be set"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}, "process 0 of 2, and JAX_COORDINATOR_ADDRESS must be set"),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, "process 1 of 2, and JAX_COORDINATOR_ADDRESS"),
        (dict(zip(JAX, ("a:1", "two", "0"), strict=True)), "JAX_NUM_PROCESSES=two"),
        (dict(zip(JAX, ("a:1", "2", "2"), strict=True)), "JAX_PROCESS_ID=2: 2 processes are numbered 0 to 1"),
        (dict(zip(JAX, ("localhost", "2", "0"), strict=True)), "JAX_COORDINATOR_ADDRESS=localhost is not HOST:PORT"),
    ],
)
def test_one_of_several_that_cannot_find_the_others_is_refused(launched, variables, words):
    with pytest.raises(InputError, match=words) as error:
        launched(**variables)
    assert "\n" not in str(error.value)


def test_mpi4py_finds_the_others_where_it_is_installed(launched, monkeypatch):
    find_spec = parallel.importlib.util.find_spec
    monkeypatch.setattr(parallel.importlib.util, "find_spec", lambda name: name == "mpi4py" or find_spec(name))
    found = launched(OMPI_COMM_WORLD_SIZE="2", OMPI_COMM_WORLD_RANK="1")
    assert found == {"cluster_detection_method": "mpi4py"}


@pytest.mark.parametrize("reachable", [True, False])
def test_a_kubernetes_job_is_one_run_where_jax_says_so(launched, monkeypatch, capsys, reachable):
    """A job with a headless service is; without one its pods cannot reach each other: they are independent tasks."""
    monkeypatch.setattr(parallel.importlib.util, "find_spec", lambda name: name == "kubernetes")

    def coordinator(timeout, port):
        if not reachable:
            raise RuntimeError("Pods within a job need a headless service\nin order to communicate with each other.")
        return "job-0.jaxpods:55527"

    cluster = parallel.clusters.K8sCluster
    answers = {"is_env_present": lambda: True, "get_coordinator_address": coordinator}
    answers |= {"get_process_count": lambda: 4, "get_process_id": lambda: 1}
    for name, answer in answers.items():
        monkeypatch.setattr(cluster, name, answer)
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}
    assert launched(**pod) == ({} if reachable else None)
    assert ("each works alone (Pods within a job need" in capsys.readouterr().err) == (not reachable)
    del pod["JOB_COMPLETION_INDEX"]
    monkeypatch.delenv("JOB_COMPLETION_INDEX")
    assert launched(**pod) is None


def test_flags_go_together_and_are_checked():
    with pytest.raises(InputError, match="all three or none"):
        parallel.start_hosts("localhost:1", None, None)
    with pytest.raises(InputError, match="--process=2"):
        parallel.start_hosts("localhost:1", 2, 2)


@pytest.mark.exhaustive  # what is found is tested above, and two hosts by their flags in runs/test_runner.py
@pytest.mark.parametrize("launcher", ["jax", "mpi"])
def test_two_processes_that_only_the_environment_tells_apart_are_one_run(world, tmp_path, launcher):
    """Both end well, one folder is written once, and each has encoded half of the images: neither fought the other."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    hosts = []
    for i in range(2):
        words, env = command(world, tmp_path / "run", tmp_path / f"cache{i}")
        env |= {"JAX_NUM_CPU_DEVICES": "1", "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}"}
        size, rank = JAX[1:] if launcher == "jax" else parallel.MPI[0]
        env |= {size: "2", rank: str(i)}
        hosts.append(subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    ends = [(*host.communicate(timeout=300), host.returncode) for host in hosts]
    assert [status for _, _, status in ends] == [0, 0], ends
    assert "top1" in ends[0][0]
    assert "top1" not in ends[1][0]  # only Gloo of jaxlib writes there
    assert encoded(tmp_path / "run") == 21  # of 41
    assert '"processes": 2' in (tmp_path / "run" / "manifest.json").read_text()
