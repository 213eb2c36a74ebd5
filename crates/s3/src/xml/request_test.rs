//! Bodies of requests, good and bad.

use super::*;

fn complete(inner: &str) -> Result<CompleteMultipartUpload, S3Error> {
    let body = format!(
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</CompleteMultipartUpload>"
    );
    CompleteMultipartUpload::parse(body.as_bytes())
}

fn part(number: &str) -> String {
    format!("<Part><ETag>&quot;e&quot;</ETag><PartNumber>{number}</PartNumber></Part>")
}

#[test]
fn complete_reads_parts() {
    let parsed = complete(
        "\n <Part>\n<PartNumber>1</PartNumber><ETag>\"a\"</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part><Part><ETag>b</ETag><PartNumber>7</PartNumber></Part>",
    )
    .unwrap();
    assert_eq!(parsed.parts.len(), 2);
    assert_eq!((parsed.parts[0].part_number, parsed.parts[0].etag.as_str()), (1, "a"));
    assert_eq!(parsed.parts[0].checksums, [Checksum::parse(ChecksumAlgorithm::Crc32, "AAAAAA==").unwrap()]);
    assert_eq!((parsed.parts[1].part_number, parsed.parts[1].etag.as_str()), (7, "b"));
}

#[test]
fn complete_with_all_parts_fits() {
    let inner: String = (1..=PART_NUMBER_MAX)
        .map(|number| {
            format!(
                "<Part><ETag>&quot;{}&quot;</ETag><PartNumber>{number}</PartNumber><ChecksumSHA256>{}=</ChecksumSHA256></Part>",
                "0".repeat(32),
                "A".repeat(43)
            )
        })
        .collect();
    assert_eq!(complete(&inner).unwrap().parts.len(), 10_000);
}

#[test]
fn complete_refuses() {
    for (inner, code) in [
        (String::new(), "MalformedXML"),
        (part("2") + &part("1"), "InvalidPartOrder"),
        (part("1") + &part("1"), "InvalidPartOrder"),
        (part("0"), "InvalidArgument"),
        (part("10001"), "InvalidArgument"),
        (part("99999999999999"), "InvalidArgument"),
        (part("-1"), "MalformedXML"),
        (part("x"), "MalformedXML"),
        ("<Part><PartNumber>1</PartNumber></Part>".into(), "MalformedXML"),
        ("<Part><ETag>e</ETag></Part>".into(), "MalformedXML"),
        ("<Part><ETag>e</ETag><ETag>e</ETag><PartNumber>1</PartNumber></Part>".into(), "MalformedXML"),
        ("<Part><ETag>e</ETag><PartNumber>1</PartNumber><Size>1</Size></Part>".into(), "MalformedXML"),
        ("<Part><ETag><b/></ETag><PartNumber>1</PartNumber></Part>".into(), "MalformedXML"),
        ("<Piece/>".into(), "MalformedXML"),
        (
            "<Part><ETag>e</ETag><PartNumber>1</PartNumber><ChecksumCRC32>x</ChecksumCRC32></Part>".into(),
            "InvalidRequest",
        ),
    ] {
        assert_eq!(complete(&inner).unwrap_err().code.as_str(), code, "{inner}");
    }
    assert!(CompleteMultipartUpload::parse(b"<Delete/>").is_err());
    assert!(CompleteMultipartUpload::parse(b"").is_err());
}

#[test]
fn delete_reads_keys() {
    let body = "<Delete><Quiet>true</Quiet><Object><Key> a &amp; b&#10;</Key><VersionId>null</VersionId></Object><Object><Key>c</Key><ETag>\"e\"</ETag></Object></Delete>";
    let parsed = DeleteRequest::parse(body.as_bytes()).unwrap();
    assert!(parsed.quiet);
    assert_eq!(parsed.objects[0].key, " a & b\n");
    assert_eq!(parsed.objects[0].version_id.as_deref(), Some("null"));
    assert_eq!(parsed.objects[1].etag.as_deref(), Some("e"));
    assert!(parsed.objects.iter().all(|object| object.refused.is_none()));
}

#[test]
fn delete_answers_bad_keys_one_by_one() {
    let long = "k".repeat(1025);
    let body = format!(
        "<Delete><Object><Key>{long}</Key></Object><Object><Key></Key></Object><Object><Key>a</Key><VersionId>x</VersionId></Object></Delete>"
    );
    let parsed = DeleteRequest::parse(body.as_bytes()).unwrap();
    let codes: Vec<_> = parsed.objects.iter().map(|object| object.refused.as_ref().unwrap().code.as_str()).collect();
    assert_eq!(codes, ["KeyTooLongError", "InvalidArgument", "NoSuchVersion"]);
}

#[test]
fn delete_refuses() {
    let object = "<Object><Key>k</Key></Object>";
    let many = object.repeat(DELETE_OBJECTS_MAX);
    assert_eq!(DeleteRequest::parse(format!("<Delete>{many}</Delete>").as_bytes()).unwrap().objects.len(), 1000);
    for inner in [
        many + object,
        String::new(),
        "<Object></Object>".into(),
        "<Object><Key>a</Key><Key>b</Key></Object>".into(),
        format!("<Quiet>maybe</Quiet>{object}"),
        format!("<Quiet>true</Quiet><Quiet>true</Quiet>{object}"),
        format!("<Force>true</Force>{object}"),
    ] {
        let error = DeleteRequest::parse(format!("<Delete>{inner}</Delete>").as_bytes()).unwrap_err();
        assert_eq!(error.code, S3ErrorCode::MalformedXml, "{}", &inner[..inner.len().min(80)]);
    }
    let sized = b"<Delete><Object><Key>a</Key><Size>1</Size></Object></Delete>";
    assert_eq!(DeleteRequest::parse(sized).unwrap_err().code, S3ErrorCode::NotImplemented);
}

#[test]
fn create_bucket() {
    let parse = |body: &str| CreateBucketConfiguration::parse(body.as_bytes());
    assert_eq!(parse("").unwrap().location_constraint, None);
    assert_eq!(parse("<CreateBucketConfiguration/>").unwrap().location_constraint, None);
    let eu = "<CreateBucketConfiguration><LocationConstraint>eu-1</LocationConstraint></CreateBucketConfiguration>";
    assert_eq!(parse(eu).unwrap().location_constraint.as_deref(), Some("eu-1"));
    let tags = "<CreateBucketConfiguration><Tags/></CreateBucketConfiguration>";
    assert_eq!(parse(tags).unwrap_err().code, S3ErrorCode::NotImplemented);
    for body in ["<A/>", "<CreateBucketConfiguration><A/></CreateBucketConfiguration>", "nonsense"] {
        assert_eq!(parse(body).unwrap_err().code, S3ErrorCode::MalformedXml, "{body}");
    }
}
