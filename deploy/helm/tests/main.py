"""All tests of the chart; `make deploy-test` calls it.

    main.py [ONLY]   tests whose name contains ONLY. CAIRN names the server's binary; without it the pod is not run
"""

import os
import sys

import cases
import test_chart
import test_manifests
import test_monitoring

only = sys.argv[1] if len(sys.argv) > 1 else ""
cases.run(test_chart, test_manifests, test_monitoring, only=only)
if os.environ.get("CAIRN"):
    import test_pod

    cases.run(test_pod, only=only)
if os.environ.get("KUBE") == "1":
    import test_cluster

    cases.run(test_cluster, only=only)
cases.finish()
