//! `image pull`.

use super::Cx;
use crate::{args::absolute_image, client::Route, error::CliError, output::clean};
use banger_model::{
    ImageRef,
    api::{image::PullImage, op::OpResult},
};
use clap::Args;
use hyper::Method;

/// Fetch or build an image, so that VMs can boot it
///
/// REF is docker://HOST[:PORT]/NAME[:TAG|@DIGEST] or the same without the scheme, as Docker reads it; oci-layout:DIR[:TAG];
/// oci-archive:FILE; docker-archive:FILE; rootfs:FILE.tar[.gz|.xz|.zst]; or `debian-bookworm`, which is built from packages.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Ask the source again although the image is here
    #[arg(short, long)]
    force: bool,
    /// Which
    #[arg(value_name = "REF")]
    image: ImageRef,
}

pub(super) async fn run(cx: &Cx<'_>, args: PullArgs) -> Result<(), CliError> {
    let request = PullImage { image: absolute_image(args.image)?, force: args.force };
    let mut events = cx.client.operate(Method::POST, &Route::new(["images", "pull"]), Some(&request)).await?;
    tell(cx, cx.building().follow(&mut events).await?)
}

/// Prints the name of the image that an operation left.
pub(super) fn tell(cx: &Cx<'_>, result: Option<OpResult>) -> Result<(), CliError> {
    let Some(OpResult::Image(image)) = result else { return Err(CliError::NoResult { what: "the image" }) };
    for warning in &image.warnings {
        cx.ui.warn(&clean::line(warning));
    }
    if !cx.ui.json {
        cx.ui.print_line(&clean::line(&image.name.to_string()))?;
    }
    Ok(())
}
