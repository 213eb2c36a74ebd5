"""One cache round trip as a GitLab runner makes it: presigned HEAD, PUT, HEAD, GET; and, in a second run, the archive
of the first one is still there."""

import base64
import hashlib
import http.client
import io
import os
import pathlib
import ssl
import stat
import sys
import urllib.parse
import zipfile

import boto3
from botocore.config import Config

key_file = pathlib.Path(os.environ["KEY_FILE"])
mode = stat.S_IMODE(key_file.stat().st_mode)
if mode != 0o600:
    sys.exit(f"demo: {key_file} has mode {mode:o} instead of 600")
keys = dict(line.split("=", 1) for line in key_file.read_text().splitlines() if "=" in line and not line.startswith("#"))
endpoint, ca = os.environ["ENDPOINT"], os.environ["CA"]
client = boto3.client(
    "s3", endpoint_url=endpoint, verify=ca, region_name="us-east-1",
    aws_access_key_id=keys["CAIRN_ROOT_ACCESS_KEY"], aws_secret_access_key=keys["CAIRN_ROOT_SECRET_KEY"],
    config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
)
BUCKET, KEY = "gitlab-cache", "project/1/docker-cache-demo-protected"
STATE = pathlib.Path(os.environ["STATE"])


def request(method, operation, body=None, headers=None, **params):
    url = urllib.parse.urlsplit(
        client.generate_presigned_url(operation, Params={"Bucket": BUCKET, "Key": KEY, **params}, ExpiresIn=3600))
    connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=60, context=ssl.create_default_context(cafile=ca))
    connection.request(method, f"{url.path}?{url.query}", body=body, headers=headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read()


if os.environ["KNOWN"] == "yes" and STATE.exists():
    status, found = request("GET", "get_object")
    if status != 200 or hashlib.sha256(found).hexdigest() != STATE.read_text():
        sys.exit(f"demo: the archive of the last run is not as it was (HTTP {status})")
    print("found the archive of the last run again")

buffer = io.BytesIO()
with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr(".docker/config.json", '{"auths":{"registry.example":{"auth":"%s"}}}' % base64.b64encode(os.urandom(24)).decode())
    archive.writestr("layers/large", os.urandom(8 << 20))
archive = buffer.getvalue()
request("HEAD", "head_object")
status, body = request("PUT", "put_object", body=archive, Metadata={"cachekey": "docker-cache-demo"}, headers={
    "X-Amz-Meta-Cachekey": "docker-cache-demo", "Content-Type": "application/octet-stream"})
if status != 200:
    sys.exit(f"demo: PUT answered {status}: {body.decode(errors='replace')}")
status, found = request("GET", "get_object")
if status != 200 or found != archive:
    sys.exit(f"demo: GET answered {status}, {len(found)} bytes of {len(archive)}")
with zipfile.ZipFile(io.BytesIO(found)) as back:
    if ".docker/config.json" not in back.namelist():
        sys.exit("demo: the archive lost its .docker folder")
STATE.write_text(hashlib.sha256(archive).hexdigest())
print(f"cache round trip passed: {len(archive)} bytes up, down, compared")
