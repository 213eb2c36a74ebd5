"""CPU-seconds of a running server per GiB of PUT and GET, and per small operation, by one boto3 client.

    gateway.py PID      (ENDPOINT, CA, ACCESS_KEY, SECRET_KEY in the environment)

Only the server's CPU counts: the client's does not matter, nor does the machine's load.
"""

import os
import sys

import boto3
from botocore.config import Config

PID = int(sys.argv[1])
TICKS = os.sysconf("SC_CLK_TCK")
s3 = boto3.client(
    "s3", endpoint_url=os.environ["ENDPOINT"], verify=os.environ["CA"], region_name="us-east-1",
    aws_access_key_id=os.environ["ACCESS_KEY"], aws_secret_access_key=os.environ["SECRET_KEY"],
    config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 0},
                  request_checksum_calculation="when_required", response_checksum_validation="when_required"),
)


def cpu():
    with open(f"/proc/{PID}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def written():
    with open(f"/proc/{PID}/io") as io:
        return int(dict(line.split(": ") for line in io.read().splitlines())["write_bytes"])


def measure(count, work):
    begin = cpu()
    for n in range(count):
        work(n)
    return cpu() - begin


s3.create_bucket(Bucket="bench")
print("| object | PUT CPU-s/GiB | GET CPU-s/GiB | bytes written per byte |")
print("|---|---|---|---|")
for size, count in [(1 << 20, 200), (10 << 20, 50), (64 << 20, 8)]:
    body = os.urandom(size)
    gib = size * count / (1 << 30)
    before = written()
    put = measure(count, lambda n: s3.put_object(Bucket="bench", Key=f"{size}/{n}", Body=body)) / gib
    ratio = (written() - before) / (size * count)
    get = measure(count, lambda n: s3.get_object(Bucket="bench", Key=f"{size}/{n}")["Body"].read()) / gib
    print(f"| {size >> 20} MiB | {put:.2f} | {get:.2f} | {ratio:.2f} |")
small = os.urandom(4096)
for name, count, work in [
    ("PUT 4 KiB", 2000, lambda n: s3.put_object(Bucket="bench", Key=f"small/{n}", Body=small)),
    ("GET 4 KiB", 2000, lambda n: s3.get_object(Bucket="bench", Key=f"small/{n}")["Body"].read()),
    ("HEAD", 2000, lambda n: s3.head_object(Bucket="bench", Key=f"small/{n}")),
    ("LIST of 1,000", 20, lambda n: s3.list_objects_v2(Bucket="bench", Prefix="small/")),
]:
    print(f"{name}: {measure(count, work) / count * 1000:.3f} ms of CPU each")
with open(f"/proc/{PID}/status") as status:
    print(next(line for line in status if line.startswith("VmHWM")).strip())
