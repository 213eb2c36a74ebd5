//! Request bodies in XML, and what of them comes back in our answers.
#![no_main]

use cairn_fuzz::{NOW, as_in_xml, check, check_document};
use cairn_s3::{
    etag,
    xml::{
        CompleteMultipartUpload, CompleteMultipartUploadResult, CreateBucketConfiguration, DELETE_OBJECTS_MAX,
        DeleteRequest, DeleteResult, DeleteResultEntry, Element, ListBucketResultV2, ListedObject, LocationConstraint,
        PART_NUMBER_MAX, XML_BODY_BYTES_MAX, XML_DEPTH_MAX, parse_document,
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Some(root) = check(parse_document(body, XML_BODY_BYTES_MAX)) {
        assert!(depth(&root) <= XML_DEPTH_MAX);
    }
    if let Some(upload) = check(CompleteMultipartUpload::parse(body)) {
        check_upload(&upload);
    }
    if let Some(request) = check(DeleteRequest::parse(body)) {
        check_delete(&request);
    }
    if let Some(configuration) = check(CreateBucketConfiguration::parse(body)) {
        let region = configuration.location_constraint;
        let root = check_document(&LocationConstraint { region: region.clone() }.to_xml());
        assert!(region.is_none_or(|region| root.text == as_in_xml(&region) || region == "us-east-1"));
    }
});

fn depth(element: &Element) -> usize {
    1 + element.children.iter().map(depth).max().unwrap_or(0)
}

fn texts<'a>(root: &'a Element, name: &str) -> Vec<&'a str> {
    let inside = root.children.iter().flat_map(|child| &child.children);
    inside.filter(|element| element.name == name).map(|element| element.text.as_str()).collect()
}

fn check_upload(upload: &CompleteMultipartUpload) {
    assert!(upload.parts.is_sorted_by(|one, next| one.part_number < next.part_number));
    for part in &upload.parts {
        assert!((1..=PART_NUMBER_MAX).contains(&part.part_number) && !part.etag.is_empty());
        for checksum in &part.checksums {
            assert_eq!(checksum.digest.len(), checksum.algorithm.digest_bytes());
            let answer = CompleteMultipartUploadResult {
                location: part.etag.clone(),
                bucket: "bucket".to_owned(),
                key: part.etag.clone(),
                etag: part.etag.clone(),
                checksum: Some(checksum.clone()),
            };
            let root = check_document(&answer.to_xml());
            let found =
                |name: &str| root.children.iter().find(|child| child.name == name).map(|child| child.text.clone());
            assert_eq!(found("Key"), Some(as_in_xml(&part.etag)));
            assert_eq!(found("ETag"), Some(as_in_xml(&etag::quoted(&part.etag))));
            assert_eq!(found(checksum.algorithm.element_name()), Some(checksum.to_string()));
        }
    }
}

fn check_delete(request: &DeleteRequest) {
    assert!((1..=DELETE_OBJECTS_MAX).contains(&request.objects.len()));
    let keys: Vec<String> = request.objects.iter().map(|object| as_in_xml(&object.key)).collect();
    let entries = request.objects.iter().map(|object| DeleteResultEntry {
        key: object.key.clone(),
        version_id: object.version_id.clone(),
        error: object.refused.clone(),
    });
    let result = DeleteResult { quiet: false, entries: entries.collect() };
    assert_eq!(texts(&check_document(&result.to_xml()), "Key"), keys);
    for encode_url in [false, true] {
        let root = check_document(&listing(request, encode_url).to_xml());
        let listed = texts(&root, "Key");
        if encode_url {
            let decoded = listed.iter().map(|key| cairn_s3::uri::decode_query_component(key));
            assert!(decoded.eq(request.objects.iter().map(|object| Ok(object.key.clone()))), "{listed:?}");
        } else {
            assert_eq!(listed, keys);
        }
    }
}

fn listing(request: &DeleteRequest, encode_url: bool) -> ListBucketResultV2 {
    let objects = request.objects.iter().map(|object| ListedObject {
        key: object.key.clone(),
        last_modified: NOW,
        etag: object.etag.clone().unwrap_or_default(),
        size: 0,
        storage_class: "STANDARD".into(),
        checksum: None,
    });
    let first = request.objects.first().map(|object| object.key.clone());
    ListBucketResultV2 {
        name: "bucket".to_owned(),
        prefix: first.clone().unwrap_or_default(),
        delimiter: first.clone(),
        max_keys: 1000,
        encode_url,
        start_after: first.clone(),
        continuation_token: first.clone(),
        next_continuation_token: first.clone(),
        is_truncated: true,
        owner: None,
        contents: objects.collect(),
        common_prefixes: first.into_iter().collect(),
    }
}
