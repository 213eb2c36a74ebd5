"""What the client programs share: the server's address and keys, from the environment."""

import http.client
import os
import random
import ssl
import urllib.parse

import boto3
from botocore.config import Config

ENDPOINT = os.environ["ENDPOINT"]
CA = os.environ["CA"]
ACCESS_KEY = os.environ["ACCESS_KEY"]
SECRET_KEY = os.environ["SECRET_KEY"]


def s3(access_key=ACCESS_KEY, secret_key=SECRET_KEY, region="us-east-1", endpoint=ENDPOINT, addressing="path", **config):
    """A boto3 client that never retries: a failure is to be seen."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region,
        verify=CA,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": addressing},
            retries={"max_attempts": 0},
            **config,
        ),
    )


def connection():
    """A plain HTTP/1.1 connection, as the runner's helper opens one per stage."""
    url = urllib.parse.urlsplit(ENDPOINT)
    if url.scheme == "http":
        return http.client.HTTPConnection(url.hostname, url.port, timeout=60)
    context = ssl.create_default_context(cafile=CA)
    return http.client.HTTPSConnection(url.hostname, url.port, timeout=60, context=context)


def request(method, url, body=None, headers=None):
    """One request on a connection of its own; answers (status, headers, body)."""
    parts = urllib.parse.urlsplit(url)
    conn = connection()
    try:
        conn.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body=body, headers=headers or {})
        answer = conn.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        conn.close()


def some_bytes(length, seed):
    """The same bytes for the same seed."""
    return random.Random(seed).randbytes(length)
