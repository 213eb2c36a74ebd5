"""Objects that must not be lost.

    objects.py put BUCKET LOG SECONDS [SEED]  writes objects for so long; each acknowledged one goes into LOG; a lost server ends it
    objects.py check BUCKET LOG               reads every one of LOG and compares
"""

import hashlib
import random
import sys
import time

import common
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

verb, bucket, log = sys.argv[1:4]
client = common.s3()
SIZES = [1, 900, 16 << 10, (16 << 10) + 1, 300_000, 1 << 20, 3 << 20]


def put():
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else 0
    until, number, numbers = time.monotonic() + float(sys.argv[4]), 0, random.Random(seed)
    with open(log, "a", encoding="ascii") as acknowledged:
        while time.monotonic() < until:
            key, body = f"project/{seed}/{number}", numbers.randbytes(numbers.choice(SIZES))
            number += 1
            try:
                client.put_object(Bucket=bucket, Key=key, Body=body)
            except (BotoCoreError, ClientError, HTTPClientError) as error:
                print(f"the server is gone after {number - 1} objects: {type(error).__name__}")
                return
            acknowledged.write(f"{key} {hashlib.sha256(body).hexdigest()}\n")
            acknowledged.flush()
    print(f"{number} objects")


def check():
    lines = [line.split() for line in open(log, encoding="ascii")]
    for key, digest in lines:
        found = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        assert hashlib.sha256(found).hexdigest() == digest, f"{key} is not what was acknowledged"
    assert lines, "nothing was acknowledged: the test shows nothing"
    print(len(lines))


put() if verb == "put" else check()
