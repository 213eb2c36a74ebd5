"""Plays the GitLab runner's presigned flow: the same requests in the same order, by an SDK's presigner and a plain
HTTP/1.1 client that adds the unsigned headers.

    runner.py BUCKET [LARGEST_BYTES]
"""

import email.utils
import io
import os
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import common

BUCKET = sys.argv[1]
LARGEST = int(sys.argv[2]) if len(sys.argv) > 2 else 64 << 20
JOB_TIMEOUT = 3600
RANGE = 16 << 20
client = common.s3(region="eu-central-1")


def signed(operation, key, **params):
    return client.generate_presigned_url(operation, Params={"Bucket": BUCKET, "Key": key, **params}, ExpiresIn=JOB_TIMEOUT)


def restore(key, alternate):
    """HEAD, HEAD of the alternate key, GET always: what the extractor sends."""
    common.request("HEAD", signed("head_object", key))
    common.request("HEAD", signed("head_object", alternate))
    return common.request("GET", signed("get_object", key) , headers={"User-Agent": "Go-http-client/1.1"})


def save(key, archive, mtime=None):
    url = signed("put_object", key, Metadata={"cachekey": "human readable"})
    assert "x-amz-meta-cachekey" in url.lower(), url
    return common.request("PUT", url, body=archive, headers={
        "Content-Length": str(len(archive)),
        "X-Amz-Meta-Cachekey": "human readable",
        "Content-Type": "application/octet-stream",
        "Last-Modified": email.utils.formatdate(mtime or time.time(), usegmt=True),
        "User-Agent": "Go-http-client/1.1",
    })


def parallel(url):
    """A probe of one byte, then ranges of 16 MiB, unordered, 16 at once, on one URL."""
    status, headers, body = common.request("GET", url, headers={"Range": "bytes=0-0"})
    assert status == 206 and len(body) == 1, (status, headers)
    total = int(headers["content-range"].rsplit("/", 1)[1])

    def piece(start):
        end = min(start + RANGE, total) - 1
        status, headers, body = common.request("GET", url, headers={"Range": f"bytes={start}-{end}"})
        assert status == 206 and headers["content-range"] == f"bytes {start}-{end}/{total}", (status, headers)
        return start, body

    starts = list(range(0, total, RANGE))
    starts.reverse()
    with ThreadPoolExecutor(16) as pool:
        pieces = dict(pool.map(piece, starts))
    return b"".join(pieces[start] for start in sorted(pieces))


def docker_archive():
    """An archive with the credentials folder that pipelines share."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(".docker/config.json", '{"auths":{"registry.example":{"auth":"c2VjcmV0"}}}')
    return buffer.getvalue()


def round_trip(key, archive):
    alternate = key + "-alternate"
    status, _, body = restore(key, alternate)
    assert status == 404 and b"<Code>NoSuchKey</Code>" in body, (status, body)
    status, _, body = save(key, archive)
    assert status == 200, (status, body)
    status, headers, body = common.request("HEAD", signed("head_object", key))
    assert status == 200 and body == b"" and int(headers["content-length"]) == len(archive), (status, headers)
    status, headers, body = restore(key, alternate)
    assert status == 200 and body == archive, (key, status, len(body), len(archive))
    assert headers["x-amz-meta-cachekey"] == "human readable", headers
    assert headers["content-type"] == "application/octet-stream", headers
    modified = email.utils.parsedate_to_datetime(headers["last-modified"]).timestamp()
    assert modified <= time.time(), "Last-Modified lies in the future"
    if len(archive) > 0:
        assert parallel(signed("get_object", key)) == archive, key


EMPTY_ZIP = b"PK\x05\x06" + b"\0" * 18
sizes = [16 << 10, (16 << 10) + 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20, LARGEST]
round_trip("project/7/docker-cache-4711", docker_archive())
round_trip("project/7/empty", EMPTY_ZIP)
for size in sizes:
    round_trip(f"runner/abcdefghi/project/7/size-{size}-protected", common.some_bytes(size, size))
for number, key in enumerate(["a b/c+d&e=f", "schlüssel/キャッシュ", "ends/with=", "star*/(x)'!~", "k" * 1024, "..", "a//b/"]):
    round_trip(key, common.some_bytes(3000 + number, number))

# Overwritten by many jobs at once: the last writer wins, and nobody reads a mixture.
key = "project/7/contended"
archives = [bytes([n]) * (2 << 20) for n in range(8)]
save(key, archives[0])
stop = threading.Event()


def reader():
    reads = 0
    while not stop.is_set() or reads == 0:
        status, _, body = common.request("GET", signed("get_object", key))
        assert status == 200 and body in archives, "a mixture of two archives was served"
        reads += 1
    return reads


with ThreadPoolExecutor(8) as pool:
    readers = [pool.submit(reader) for _ in range(2)]
    for _ in range(3):
        assert {answer[0] for answer in pool.map(lambda a: save(key, a), archives)} == {200}
    stop.set()
    reads = sum(r.result() for r in readers)

# A wrong key, a URL for another method, a tampered key: refused, with a message a person can read.
wrong = common.s3(secret_key="not-the-secret-not-the-secret-xx").generate_presigned_url(
    "get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=60)
status, _, body = common.request("GET", wrong)
assert status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in body, body
status, _, body = common.request("DELETE", signed("get_object", key))
assert status == 403, body
status, _, body = common.request("GET", signed("get_object", key).replace("contended", "size"))
assert status == 403, body
# An unsigned x-amz header must not take effect.
status, _, body = common.request("PUT", signed("put_object", "project/7/copied"), body=b"",
                                 headers={"x-amz-copy-source": f"/{BUCKET}/{key}", "Content-Length": "0"})
assert status == 403, (status, body)

# Region lookup, as the manager does with an empty BucketLocation.
assert client.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] in (None, "us-east-1")
print(f"runner flow passed, {reads} reads beside the overwrites")
