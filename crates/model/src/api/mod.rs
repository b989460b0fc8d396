//! The contract between clients and the daemon: HTTP/1.1 with JSON over a Unix socket.
//!
//! | method and path below `/v1` | body | answer |
//! |---|---|---|
//! | `GET /daemon`, `POST /daemon/stop` | | [`daemon::DaemonInfo`] |
//! | `GET /doctor` | | [`doctor::DoctorReport`] |
//! | `POST /doctor` | | events, a `check` for each |
//! | `GET /openapi.json` | | the OpenAPI document |
//! | `GET /vms`, `GET /vms/NAME` | | [`vm::VmList`], [`vm::VmView`] |
//! | `POST /vms` | [`vm::CreateVm`] | events |
//! | `POST /vms/NAME/start`, `…/stop`, `…/restart`, `…/kill` | | events |
//! | `DELETE /vms/NAME?force=BOOL&id=ID` | | events |
//! | `GET /prune` | | [`vm::PruneList`] |
//! | `POST /vms/NAME/exec` | [`exec::ExecRequest`] | `101` and frames, or [`exec::ExecEvent`] lines |
//! | `GET /vms/NAME/files?path=P` | | a tar |
//! | `PUT /vms/NAME/files?path=P` | a tar | `204` |
//! | `GET /vms/NAME/logs?boot=N&follow=BOOL` | | the console as text |
//! | `GET /vms/NAME/stats?interval_ms=N` | | [`stats::VmStats`] |
//! | `GET /images`, `GET /images/REF` | | [`image::ImageList`], [`image::ImageView`] |
//! | `DELETE /images/REF` | | events |
//! | `POST /images/pull`, `POST /images/import` | [`image::PullImage`], [`image::ImportImage`] | events |
//! | `GET /kernels`, `GET /kernels/NAME` | | [`image::KernelList`], [`image::KernelView`] |
//! | `DELETE /kernels/NAME` | | events |
//! | `POST /kernels/pull`, `POST /kernels/import` | [`image::PullKernel`], [`image::ImportKernel`] | events |
//! | `GET /operations`, `DELETE /operations/OP` | | [`op::OperationList`], `204` once it has been told to end |
//! | `GET /operations/OP/log` | | [`op::OpLog`] |
//!
//! *Events* are [`op::OpEvent`]s, one JSON object a line (`application/x-ndjson`), the last one `done` or `failed`. Names and
//! references in paths are percent-encoded. A connection carries one request. Every answer carries its operation's id in the
//! header [`OP_HEADER`], those to what is no request included; a client may choose the id by sending that header, unless an
//! operation of that id is open. The daemon's version is in [`VERSION_HEADER`]. An answer that is no success has an
//! [`error::ErrorBody`]. Optional fields are left out when empty, ids of operations among them where a side has none; unknown
//! ones are ignored.

pub mod daemon;
pub mod doctor;
pub mod error;
pub mod exec;
pub mod image;
pub mod op;
pub mod stats;
pub mod vm;

/// The header that carries an operation's id, both ways.
pub const OP_HEADER: &str = "banger-op";
/// The header of every answer with the daemon's version.
pub const VERSION_HEADER: &str = "banger-version";
/// The prefix of every path, which is the API's version.
pub const API_PREFIX: &str = "/v1";
/// The protocol that an exec request upgrades to.
pub const EXEC_PROTOCOL: &str = "banger-exec/1";
/// The channel of a client's exec stream.
pub const EXEC_CHANNEL: u32 = 1;
