//! `image import`.

use super::{Cx, pull::tell};
use crate::{
    args::absolute_image,
    client::Route,
    error::{CliError, UsageError},
};
use banger_model::{ImageRef, api::image::ImportImage};
use clap::Args;
use hyper::Method;

/// Make an image of a local file or folder, under a name of yours
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Of what: oci-layout:DIR[:TAG], oci-archive:FILE, docker-archive:FILE or rootfs:FILE.tar[.gz|.xz|.zst]
    #[arg(value_name = "SOURCE")]
    source: ImageRef,
    /// The name under which it is kept, like localhost/dev:1
    #[arg(value_name = "NAME")]
    name: ImageRef,
}

pub(super) async fn run(cx: &Cx<'_>, args: ImportArgs) -> Result<(), CliError> {
    let ImportArgs { source, name } = args;
    if source.local_path().is_none() {
        return Err(UsageError::ImportNotLocal { image: source.to_string() }.into());
    }
    let request = ImportImage { source: absolute_image(source)?, name };
    let mut events = cx.client.operate(Method::POST, &Route::new(["images", "import"]), Some(&request)).await?;
    tell(cx, cx.building().follow(&mut events).await?)
}
