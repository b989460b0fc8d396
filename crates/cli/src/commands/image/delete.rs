//! `image delete`.

use super::Cx;
use crate::{args::absolute_image, client::Route, commands::several, error::CliError};
use banger_model::ImageRef;
use clap::Args;
use hyper::Method;

/// Delete images that no VM needs
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Which
    #[arg(required = true, value_name = "REF")]
    images: Vec<ImageRef>,
}

pub(super) async fn run(cx: &Cx<'_>, args: DeleteArgs) -> Result<u8, CliError> {
    let images = args.images.into_iter().map(absolute_image).collect::<Result<Vec<_>, _>>()?;
    let request = |image: &ImageRef| (Method::DELETE, Route::new(["images", &image.to_string()]));
    several::operate(cx, &images, cx.removing(), request, async |_, error| Err(error)).await
}
