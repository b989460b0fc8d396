//! Which closed code each failure has.

use super::error::{Failure, Unreadable};
use crate::{
    guest::SessionError,
    host::{BootError, ChooseError, HostError, UsageError},
    prepare::PrepareError,
    verbs::VerbError,
};
use banger_image::{
    DiskError,
    image::ImageError,
    initramfs::InitramfsError,
    kernel::{CatalogError, KernelError},
    source::SourceErrorKind,
    store::StoreError,
};
use banger_model::{
    api::{error::ErrorCode, vm::EndReason},
    wire::guest::Refusal,
};
use std::{error::Error, io};

/// The code of a failure.
pub(super) fn of(failure: &Failure) -> ErrorCode {
    if is_of_a_full_disk(failure) { ErrorCode::NoRoom } else { of_kind(failure) }
}

/// Whether a full disk is at the bottom of it, whatever was being written.
fn is_of_a_full_disk(failure: &Failure) -> bool {
    let mut next = failure.source();
    while let Some(cause) = next {
        let full =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if cause.downcast_ref().is_some_and(full) {
            return true;
        }
        next = cause.source();
    }
    false
}

fn of_kind(failure: &Failure) -> ErrorCode {
    match failure {
        Failure::Request { .. }
        | Failure::TooLarge { .. }
        | Failure::ContentType { .. }
        | Failure::NoOperation { .. }
        | Failure::OperationOpen(_)
        | Failure::Unreadable(Unreadable::NoHttp | Unreadable::BrokeOff)
        | Failure::NoBoot { .. }
        | Failure::Client { .. } => ErrorCode::BadRequest,
        Failure::Unreadable(Unreadable::Stranger { .. }) => ErrorCode::Forbidden,
        Failure::UnknownRoute { .. } | Failure::WrongMethod { .. } => ErrorCode::UnknownRoute,
        Failure::Version { .. } => ErrorCode::UnsupportedVersion,
        Failure::NotRunning { .. } | Failure::NeverBooted { .. } => ErrorCode::VmStatus,
        Failure::Guest { source, .. } => session(source),
        Failure::Ended { end: EndReason::Panicked { .. }, .. } => ErrorCode::GuestPanic,
        Failure::Ended { .. } | Failure::Lost { .. } | Failure::Copy { .. } => ErrorCode::Guest,
        Failure::ShuttingDown => ErrorCode::ShuttingDown,
        Failure::Stats { source: UsageError::Gone, .. } => ErrorCode::VmStatus,
        Failure::Stats { .. } | Failure::Console { .. } | Failure::Log { .. } | Failure::Db(_) => ErrorCode::Internal,
        Failure::Verb(error) => verb(error),
        Failure::Prepare(error) => prepare(error),
    }
}

fn verb(error: &VerbError) -> ErrorCode {
    match error {
        VerbError::NotFound(_) => ErrorCode::VmNotFound,
        VerbError::NameTaken(_) => ErrorCode::VmNameTaken,
        VerbError::Denied { .. } => ErrorCode::VmStatus,
        VerbError::Value { .. } => ErrorCode::BadRequest,
        VerbError::Memory { .. } => ErrorCode::NoRoom,
        // The configuration is part of what was asked for.
        VerbError::Config(_) => ErrorCode::BadRequest,
        VerbError::Prepare(error) => prepare(error),
        VerbError::Choose { source: ChooseError::Cancelled(_), .. } | VerbError::Cancelled(_) => ErrorCode::Cancelled,
        VerbError::Choose { .. } | VerbError::NoUserNet(_) => ErrorCode::HostUnfit,
        VerbError::Host { source, .. } => host(source),
        VerbError::Boot { source, .. } => boot(source),
        VerbError::NoName(_) | VerbError::LeftOver { .. } | VerbError::Db(_) => ErrorCode::Internal,
    }
}

fn host(error: &HostError) -> ErrorCode {
    match error {
        HostError::Cancelled(_) => ErrorCode::Cancelled,
        HostError::File { .. } | HostError::Folder { .. } => ErrorCode::HostUnfit,
        HostError::Disk { source, .. } => disk(source),
        HostError::Image { source } => image(source),
        HostError::Kernel { source } => kernel(source),
        HostError::Initramfs { source } => initramfs(source),
        HostError::Program { .. } | HostError::NoUserNet(_) => ErrorCode::HostUnfit,
        HostError::Launch { .. } | HostError::Kill { .. } | HostError::UserNet { .. } => ErrorCode::VmmFailed,
        HostError::Config(_) => ErrorCode::BadRequest,
        HostError::Watch { .. } | HostError::Processes { .. } | HostError::Task | HostError::NoBoot => {
            ErrorCode::Internal
        }
        #[cfg(test)]
        HostError::Planted(_) => ErrorCode::Internal,
    }
}

fn boot(error: &BootError) -> ErrorCode {
    match error {
        BootError::Panicked { .. } => ErrorCode::GuestPanic,
        BootError::VmmEnded { .. } | BootError::Silent { .. } | BootError::Configure { .. } => ErrorCode::BootFailed,
        BootError::Cancelled(_) => ErrorCode::Cancelled,
    }
}

fn prepare(error: &PrepareError) -> ErrorCode {
    match error {
        PrepareError::Kernel(error) => kernel(error),
        PrepareError::InUse { .. } => ErrorCode::InUse,
        PrepareError::Config(_) => ErrorCode::BadRequest,
        PrepareError::Cancelled(_) => ErrorCode::Cancelled,
        PrepareError::Image(error) => image(error),
        PrepareError::Initramfs(error) => initramfs(error),
        PrepareError::Db(_) | PrepareError::Task { .. } => ErrorCode::Internal,
    }
}

fn initramfs(error: &InitramfsError) -> ErrorCode {
    match error {
        InitramfsError::Agent { .. } | InitramfsError::NotStatic { .. } => ErrorCode::HostUnfit,
        InitramfsError::Store(error) => store(error),
    }
}

fn disk(error: &DiskError) -> ErrorCode {
    match error {
        DiskError::TooSmall { .. } => ErrorCode::BadRequest,
        DiskError::Store(error) => store(error),
        _ => ErrorCode::HostUnfit,
    }
}

fn image(error: &ImageError) -> ErrorCode {
    match error {
        ImageError::NotFound { .. } | ImageError::Gone { .. } => ErrorCode::ImageNotFound,
        ImageError::Reserved { .. } | ImageError::NameTaken { .. } => ErrorCode::NameTaken,
        ImageError::NotLocal { .. } => ErrorCode::BadRequest,
        ImageError::Source(error) => match error.kind() {
            SourceErrorKind::NotFound => ErrorCode::ImageNotFound,
            SourceErrorKind::Invalid => ErrorCode::ImageInvalid,
            SourceErrorKind::Unavailable => ErrorCode::ImageUnavailable,
            SourceErrorKind::HostUnfit => ErrorCode::HostUnfit,
            SourceErrorKind::Cancelled => ErrorCode::Cancelled,
        },
        ImageError::Unpack { .. } | ImageError::Ext4 { .. } | ImageError::Record { .. } => ErrorCode::ImageInvalid,
        ImageError::NoDigest { .. } => ErrorCode::Internal,
        ImageError::Store(error) => store(error),
        ImageError::Cancelled => ErrorCode::Cancelled,
    }
}

fn store(error: &StoreError) -> ErrorCode {
    match error {
        StoreError::Full { .. } => ErrorCode::NoRoom,
        StoreError::Io { .. } | StoreError::Torn { .. } => ErrorCode::HostUnfit,
    }
}

fn kernel(error: &KernelError) -> ErrorCode {
    match error {
        KernelError::NotFound { .. } | KernelError::NotInCatalog { .. } => ErrorCode::KernelNotFound,
        // A path is part of what was asked for.
        KernelError::Read { .. } => ErrorCode::BadRequest,
        KernelError::Reserved { .. } | KernelError::NameTaken { .. } => ErrorCode::NameTaken,
        KernelError::Catalog { source: CatalogError::Cancelled, .. } | KernelError::Cancelled => ErrorCode::Cancelled,
        KernelError::Catalog { source: CatalogError::NoApt, .. } => ErrorCode::HostUnfit,
        KernelError::Catalog { .. } => ErrorCode::KernelUnavailable,
        KernelError::Invalid { .. } | KernelError::Record { .. } => ErrorCode::KernelInvalid,
        KernelError::Store(error) => store(error),
    }
}

fn session(error: &SessionError) -> ErrorCode {
    match error {
        SessionError::Refused(Refusal::NotFound { .. }) => ErrorCode::CommandNotFound,
        SessionError::Refused(Refusal::NotExecutable { .. }) => ErrorCode::CommandNotExecutable,
        SessionError::Frame(_) => ErrorCode::BadRequest,
        _ => ErrorCode::Guest,
    }
}
