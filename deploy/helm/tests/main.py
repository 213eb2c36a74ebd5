"""All tests of the chart, and of the files beside it; `make deploy-test` calls it.

    main.py [ONLY]   tests whose name contains ONLY. CAIRN names the server's binary; without it the pod is not run
"""

import os
import pathlib
import sys

# What is deployed beside the chart has its tests in a folder of its own.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tests"))

import cases
import test_chart
import test_files
import test_manifests
import test_monitoring
import test_runner_page

only = sys.argv[1] if len(sys.argv) > 1 else ""
cases.run(test_chart, test_manifests, test_monitoring, test_files, test_runner_page, only=only)
if os.environ.get("CAIRN"):
    import test_pod

    cases.run(test_pod, only=only)
if os.environ.get("KUBE") == "1":
    import test_cluster

    cases.run(test_cluster, only=only)
cases.finish()
