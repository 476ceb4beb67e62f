"""Switches for every test, set before any library is imported: no telemetry, no network, no traces."""

import atexit
import os
import shutil
import tempfile

_HOME = tempfile.mkdtemp(prefix="relearn-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)

os.environ.update(
    {
        # usage telemetry
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "ITERATIVE_DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "GX_ANALYTICS_ENABLED": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # nothing is fetched
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        # state outside the tests' own folders
        "PREFECT_HOME": f"{_HOME}/prefect",
        "HF_HOME": f"{_HOME}/huggingface",
        "DVC_SITE_CACHE_DIR": f"{_HOME}/dvc-site",
        "DVC_GLOBAL_CONFIG_DIR": f"{_HOME}/dvc-config",
        "DVC_SYSTEM_CONFIG_DIR": f"{_HOME}/dvc-system",
        "MPLCONFIGDIR": f"{_HOME}/matplotlib",
        # commits of test workspaces
        "GIT_AUTHOR_NAME": "Relearn tests",
        "GIT_AUTHOR_EMAIL": "tests@relearn.invalid",
        "GIT_COMMITTER_NAME": "Relearn tests",
        "GIT_COMMITTER_EMAIL": "tests@relearn.invalid",
        # one thread each, so that a seeded run gives the same bits everywhere
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
)
os.environ.pop("DVC_STAGE", None)
