//! Request bodies read strictly, answers written plainly.

mod listing;
mod multipart;
mod parse;
mod request;
mod response;
mod writer;

pub use listing::{
    BucketEntry, ListAllMyBucketsResult, ListBucketResultV1, ListBucketResultV2, ListedObject, LocationConstraint,
    Owner,
};
pub use multipart::{
    CompleteMultipartUploadResult, InitiateMultipartUploadResult, ListMultipartUploadsResult, ListPartsResult,
    ListedPart, ListedUpload,
};
pub use parse::{Element, XML_BODY_BYTES_MAX, XML_DEPTH_MAX, XML_ELEMENTS_MAX, parse_document};
pub use request::{
    CompleteMultipartUpload, CompletedPart, CreateBucketConfiguration, DELETE_OBJECTS_MAX, DeleteRequest,
    ObjectToDelete, PART_NUMBER_MAX,
};
pub use response::{CopyObjectResult, CopyPartResult, DeleteResult, DeleteResultEntry, VersioningConfiguration};
pub use writer::XmlWriter;
