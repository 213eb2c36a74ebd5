"""Prints a page of the server that needs no signature: page.py PATH."""

import sys

import common

status, _, body = common.request("GET", common.ENDPOINT + sys.argv[1])
assert status == 200, (status, body)
sys.stdout.buffer.write(body)
