"""Plays the GitLab runner's presigned flow: the requests of gitlab-runner 19.4 in their order, signed by an SDK's
presigner and sent by a plain HTTP/1.1 client that adds the unsigned headers.

    runner.py BUCKET

With CAIRN_LONG=1 the largest archive has 1 GiB instead of 64 MiB. What only the test around can do to the server is
asked for by a line on stdout (`server: kill`, `server: start`) and answered by a line on stdin.
"""

import email.utils
import io
import os
import sys
import threading
import time
import urllib.parse
import zipfile
from concurrent.futures import ThreadPoolExecutor

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import common

BUCKET = sys.argv[1]
LARGEST = 1 << 30 if os.environ.get("CAIRN_LONG") == "1" else 64 << 20
JOB_TIMEOUT = 3600
RANGE = 16 << 20
TRIES, TRIES_APART = 3, 1
AGENT = {"User-Agent": "Go-http-client/1.1"}
client = common.s3(region="eu-central-1")


def signed(method, key, headers=None, secret_key=common.SECRET_KEY):
    """A presigned URL as aws-sdk-go makes it: `x-id` for GET and PUT alone, only `host` and `x-amz-*` signed."""
    operation = {"GET": "?x-id=GetObject", "PUT": "?x-id=PutObject"}.get(method, "")
    url = f"{common.ENDPOINT}/{BUCKET}/{urllib.parse.quote(key, safe='/~')}{operation}"
    request = AWSRequest(method=method, url=url, headers=headers or {})
    S3SigV4QueryAuth(Credentials(common.ACCESS_KEY, secret_key), "s3", "us-east-1", expires=JOB_TIMEOUT).add_auth(request)
    names = ";".join(["host", *sorted(name.lower() for name in headers or {})])
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.url).query)
    assert query["X-Amz-SignedHeaders"] == [names] and query["X-Amz-Expires"] == [str(JOB_TIMEOUT)], query
    assert ("x-id" in query) == bool(operation), query
    return request.url


def get(url, headers=None):
    # Go asks for gzip by itself, but not for a range.
    more = headers or {"Accept-Encoding": "gzip"}
    return common.request("GET", url, headers={**AGENT, **more})


def head(key):
    return common.request("HEAD", signed("HEAD", key), headers=AGENT)


def retried(send):
    """Two more tries, 1 s apart, on a transport error or 5xx: nothing else is tried again."""
    for number in range(TRIES):
        try:
            answer = send()
            if answer[0] < 500 or number == TRIES - 1:
                return answer
        except OSError:
            if number == TRIES - 1:
                raise
        time.sleep(TRIES_APART)


def restore(key):
    """HEAD, HEAD of the alternate key, and always GET, after a 404 too: what the extractor sends."""
    found, other = head(key)[0], head(key + "-alternate")[0]
    assert other == 404, other
    status, headers, body = get(signed("GET", key))
    assert status == found, (status, found)
    return status, headers, body


def save(key, archive, mtime=None):
    """What the archiver sends: the last two headers are not signed."""
    url = signed("PUT", key, {"X-Amz-Meta-Cachekey": "human readable"})
    return common.request("PUT", url, body=archive, headers={
        **AGENT,
        "Content-Length": str(len(archive)),
        "X-Amz-Meta-Cachekey": "human readable",
        "Content-Type": "application/octet-stream",
        "Last-Modified": email.utils.formatdate(mtime or time.time(), usegmt=True),
    })


def piece(url, start, total):
    end = min(start + RANGE, total) - 1
    status, headers, body = get(url, {"Range": f"bytes={start}-{end}"})
    assert status == 206 and headers["content-range"] == f"bytes {start}-{end}/{total}", (status, headers)
    return start, body


def probe(url):
    status, headers, body = get(url, {"Range": "bytes=0-0"})
    assert status == 206 and len(body) == 1, (status, headers)
    return int(headers["content-range"].rsplit("/", 1)[1])


def starts_of(total):
    """Unordered, as 16 at once arrive."""
    return list(reversed(range(0, total, RANGE)))


def parallel(url):
    """A probe of one byte, then ranges of 16 MiB, 16 at once, on one URL."""
    total = probe(url)
    with ThreadPoolExecutor(16) as pool:
        pieces = dict(pool.map(lambda start: piece(url, start, total), starts_of(total)))
    return b"".join(pieces[start] for start in sorted(pieces))


def docker_archive():
    """An archive with the credentials folder that pipelines share."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(".docker/config.json", '{"auths":{"registry.example":{"auth":"c2VjcmV0"}}}')
    return buffer.getvalue()


def archive_of(size, seed):
    """Bytes that differ from one 16 MiB range to the next, and do not take long to make."""
    block = common.some_bytes(min(size, 1 << 20), seed)
    numbered = (number.to_bytes(8, "big") + block[8:] for number in range(size // len(block) + 1))
    return b"".join(numbered)[:size]


def round_trip(key, archive):
    status, _, body = restore(key)
    assert status == 404 and b"<Code>NoSuchKey</Code>" in body, (status, body)
    mtime = int(time.time()) - 100
    status, _, body = save(key, archive, mtime)
    assert status == 200, (status, body)
    status, headers, body = head(key)
    assert status == 200 and body == b"" and int(headers["content-length"]) == len(archive), (status, headers)
    status, headers, body = restore(key)
    assert status == 200 and body == archive, (key, status, len(body), len(archive))
    assert headers["x-amz-meta-cachekey"] == "human readable", headers
    assert headers["content-type"] == "application/octet-stream", headers
    # The file's own time: the runner that uploaded it does not download it again.
    assert email.utils.parsedate_to_datetime(headers["last-modified"]).timestamp() == mtime, headers
    assert parallel(signed("GET", key)) == archive, key


def server(order):
    print(f"server: {order}", flush=True)
    return sys.stdin.readline().strip()


def sizes_and_keys():
    empty_zip = b"PK\x05\x06" + b"\0" * 18
    round_trip("project/7/docker-cache-4711", docker_archive())
    round_trip("project/7/empty", empty_zip)
    for size in [16 << 10, (16 << 10) + 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20, LARGEST]:
        round_trip(f"runner/abcdefghi/project/7/size-{size}-protected", archive_of(size, size))
    keys = ["a b/c+d&e=f", "schlüssel/キャッシュ", "ends/with=", "star*/(x)'!~", "k" * 1014, "ü" * 507, "..", "a//b/"]
    for number, key in enumerate(keys):
        round_trip(key, archive_of(3000 + number, number))
    # The longest key has no room for an alternate's suffix.
    for key in ["k" * 1024, "ü" * 512]:
        assert save(key, b"longest")[0] == 200 and get(signed("GET", key))[2] == b"longest", key


def evicted():
    """Nothing changed since the restore: HEAD alone, and what is gone is uploaded again."""
    key, archive = "project/7/evicted", archive_of(2 << 20, 5)
    assert save(key, archive)[0] == 200 and head(key)[0] == 200
    client.delete_object(Bucket=BUCKET, Key=key)
    assert head(key)[0] == 404
    assert save(key, archive)[0] == 200
    assert restore(key)[2] == archive


def overwritten_amid_a_parallel_download():
    """Every range is of one version, also after the old one would have been reaped."""
    key = "project/7/overwritten"
    old, new = archive_of(40 << 20, 1), archive_of(56 << 20, 2)
    assert save(key, old)[0] == 200
    url = signed("GET", key)
    total = probe(url)
    starts = starts_of(total)
    pieces = dict([piece(url, starts[0], total)])
    with ThreadPoolExecutor(4) as pool:
        upload = pool.submit(save, key, new)
        while not upload.done():
            pieces.update([piece(url, starts[0], total)])
        assert upload.result()[0] == 200
    # A job that signed the same URL in the same second shares the version.
    assert probe(url) == total
    time.sleep(3)
    with ThreadPoolExecutor(16) as pool:
        pieces.update(pool.map(lambda start: piece(url, start, total), starts))
    assert b"".join(pieces[start] for start in sorted(pieces)) == old, "two archives were mixed"
    assert parallel(signed("GET", key)) == new
    assert restore(key)[2] == new


def unknown_after_a_restart():
    """Nobody knows any more which version the URL's ranges were of: refused, with words for the job's log."""
    key = "project/7/restarted"
    old, new = archive_of(20 << 20, 3), archive_of(20 << 20, 4)
    assert save(key, old)[0] == 200
    time.sleep(1.1)
    unchanged = signed("GET", key)
    url = signed("GET", key)
    total = probe(url)
    server("kill")
    server("start")
    # The version is older than the URL: it is what the probe saw.
    pieces = dict(piece(unchanged, start, total) for start in starts_of(total))
    assert pieces[0] + pieces[RANGE] == old
    assert save(key, new)[0] == 200
    server("kill")
    server("start")
    status, _, body = get(url, {"Range": f"bytes={RANGE}-{total - 1}"})
    assert status == 412 and b"<Code>PreconditionFailed</Code>" in body, (status, body)
    assert b"overwritten after this URL was signed" in body, body
    # A download that begins anew may go on with the URL.
    assert parallel(url) == new


def killed_between_head_and_get():
    """The retries of the client are enough to get over it, wherever the machine restarts the server in time."""
    key, archive = "project/7/killed", archive_of(9 << 20, 6)
    assert save(key, archive)[0] == 200
    in_time = 0
    for _ in range(5):
        assert head(key)[0] == 200
        assert head(key + "-alternate")[0] == 404
        server("kill")
        with ThreadPoolExecutor(1) as pool:
            started = pool.submit(server, "start")
            try:
                status, _, body = retried(lambda: get(signed("GET", key)))
            except OSError:
                status, body = None, None
            took_ms = int(started.result())
        if status == 200:
            assert body == archive
            in_time += 1
        else:
            assert took_ms > 1000 * TRIES_APART * (TRIES - 1), f"restarted in {took_ms} ms, and the GET got {status}"
        if in_time:
            return
    raise AssertionError("the server did not restart within 2 s in 5 attempts")


def contended():
    """Overwritten by many jobs at once: the last writer wins, and nobody reads a mixture."""
    key = "project/7/contended"
    archives = [bytes([n]) * (2 << 20) for n in range(8)]
    save(key, archives[0])
    stop = threading.Event()

    def reader():
        reads = 0
        while not stop.is_set() or reads == 0:
            status, _, body = get(signed("GET", key))
            assert status == 200 and body in archives, "a mixture of two archives was served"
            reads += 1
        return reads

    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(reader) for _ in range(2)]
        for _ in range(3):
            assert {answer[0] for answer in pool.map(lambda a: save(key, a), archives)} == {200}
        stop.set()
        return sum(r.result() for r in readers)


def refused():
    """A wrong key, a URL for another method, a tampered key: refused, with a message a person can read."""
    key = "project/7/contended"
    status, _, body = get(signed("GET", key, secret_key="not-the-secret-not-the-secret-xx"))
    assert status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in body, body
    assert b"<Message>the signature is not the one this server computes; check the secret key" in body, body
    status, _, body = common.request("DELETE", signed("GET", key))
    assert status == 403, body
    status, _, body = get(signed("GET", key).replace("contended", "size"))
    assert status == 403, body
    # An unsigned x-amz header must not take effect.
    status, _, body = common.request("PUT", signed("PUT", "project/7/copied"), body=b"",
                                     headers={"x-amz-copy-source": f"/{BUCKET}/{key}", "Content-Length": "0"})
    assert status == 403, (status, body)


def location():
    """As the manager asks with an empty BucketLocation: twice for a restore, once for a save."""
    for _ in range(3):
        assert common.s3().get_bucket_location(Bucket=BUCKET)["LocationConstraint"] in (None, "us-east-1")


location()
sizes_and_keys()
evicted()
overwritten_amid_a_parallel_download()
reads = contended()
refused()
unknown_after_a_restart()
killed_between_head_and_get()
print(f"runner flow passed, {reads} reads beside the overwrites")
