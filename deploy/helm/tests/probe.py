"""probe.py URL SECONDS: one HTTP probe as the kubelet sends it, which verifies no certificate; prints the status."""

import ssl
import sys
import urllib.error
import urllib.request

context = ssl._create_unverified_context()
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=float(sys.argv[2]), context=context).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError as error:
    print(f"0 {error}")
