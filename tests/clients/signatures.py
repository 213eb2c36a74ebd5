"""Signed and presigned requests, good and bad, over HTTP/1.1.

Each secret that one of them carries is printed as a line `sent: VALUE`, so that the test around can look for it.
"""

import os
import socket
import ssl
import time
import urllib.parse

import botocore.exceptions

import common

BUCKET = "signed"
TOKEN = "FwoGZXIvYXdzEsession-token-0123456789"
PRESIGNED_SECRETS = ("X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token")


def told(value):
    """Both as it is sent and as a reader of the query has it."""
    for form in {value, urllib.parse.unquote(value)}:
        print("sent:", form)


def tell_authorization(request, **_):
    value = request.headers["Authorization"]
    told(value.decode() if isinstance(value, bytes) else value)
    told(str(value).rsplit("Signature=", 1)[1].strip("'"))


def client(**keys):
    made = common.s3(**keys)
    made.meta.events.register("before-send.s3", tell_authorization)
    return made


def fails(call, **arguments):
    try:
        call(Bucket=BUCKET, **arguments)
    except botocore.exceptions.ClientError:
        return
    raise AssertionError(f"{call} {arguments} was answered well")


def told_url(url):
    query = urllib.parse.urlsplit(url).query
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name in PRESIGNED_SECRETS:
            told(value)
    return url


def presigned(operation, key, expires=60, **keys):
    return told_url(common.s3(**keys).generate_presigned_url(operation, {"Bucket": BUCKET, "Key": key}, expires))


def sent(method, url, status, body=None, headers=None):
    got = common.request(method, url, body=body, headers=headers)[0]
    assert got == status, (method, url, got)


def by_header():
    s3 = client()
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="small", Body=b"x")
    s3.put_object(Bucket=BUCKET, Key="large", Body=common.some_bytes(2 << 20, 1))
    assert s3.get_object(Bucket=BUCKET, Key="large")["Body"].read() == common.some_bytes(2 << 20, 1)
    s3.list_objects_v2(Bucket=BUCKET)
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/large")
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    s3.abort_multipart_upload(Bucket=BUCKET, Key="parts", UploadId=upload)
    s3.delete_object(Bucket=BUCKET, Key="copy")
    fails(s3.get_object, Key="none")
    wrong = "not-the-secret-not-the-secret-not-the"
    told(wrong)
    fails(client(secret_key=wrong).get_object, Key="small")
    fails(client(access_key="NOSUCHKEY").put_object, Key="small", Body=b"y")


def by_query():
    sent("PUT", presigned("put_object", "presigned"), 200, body=b"abc")
    get = presigned("get_object", "presigned")
    sent("GET", get, 200)
    sent("GET", get, 206, headers={"Range": "bytes=0-0"})
    sent("GET", presigned("get_object", "none"), 404)
    # Tampered, for another method, malformed, twice, of version 2, expired, with a token.
    sent("GET", get.replace("presigned", "small"), 403)
    sent("DELETE", get, 403)
    sent("GET", get[:-4], 400)
    sent("GET", get + "&" + get.split("?", 1)[1], 400)
    sent("GET", f"{common.ENDPOINT}/{BUCKET}/small?AWSAccessKeyId=AK&Expires=9999999999&Signature=dmVyc2lvbi10d28", 400)
    told("dmVyc2lvbi10d28")
    expired = presigned("get_object", "presigned", expires=1)
    time.sleep(2.2)
    sent("GET", expired, 403)
    told(TOKEN)
    sent("GET", f"{get}&X-Amz-Security-Token={TOKEN}", 400)
    return get


def unreadable(url):
    """Requests that the HTTP library refuses before we see them."""
    parts = urllib.parse.urlsplit(url)
    target = f"{parts.path}?{parts.query}"
    context = ssl.create_default_context(cafile=common.CA)
    for head in (
        f"GET {target} HTTP/7.7\r\nHost: {parts.netloc}\r\n\r\n",
        f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nno colon\r\n\r\n",
        f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {target}\r\n\r\n",
    ):
        with socket.create_connection((parts.hostname, parts.port), timeout=60) as plain:
            with context.wrap_socket(plain, server_hostname=parts.hostname) as stream:
                stream.sendall(head.encode())
                assert stream.recv(65536).startswith(b"HTTP/1.1 400"), head
    # And one that goes away in the middle of its head.
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as plain:
        with context.wrap_socket(plain, server_hostname=parts.hostname) as stream:
            stream.sendall(f"GET {target} HT".encode())


by_header()
unreadable(by_query())
told(os.environ["SECRET_KEY"])
