//! Tars out of guests and into them.

use super::*;
use banger_model::api::error::ErrorCode;
use futures_util::StreamExt;
use http_body_util::StreamBody;
use hyper::body::Frame;

#[tokio::test]
async fn a_tar_comes_out_whole_or_not_at_all() {
    let api = Api::with_box().await;
    let answer = api.get("/v1/vms/box/files?path=/etc/a%20b").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the tar of /etc/a b"));
    assert_eq!(answer.headers["content-type"], "application/x-tar");
    // Half of it, and the connection breaks off.
    let broken = match api.try_send("GET /v1/vms/box/files?path=/short", &[], "").await {
        // Before the head was on its way, even.
        Err(error) => error.is_incomplete_message(),
        Ok(answer) => answer.into_body().collect().await.is_err(),
    };
    assert!(broken);
}

#[tokio::test]
async fn what_goes_wrong_before_the_first_byte_is_an_answer() {
    let api = Api::with_box().await;
    let error = api.get("/v1/vms/box/files?path=/gone").await.error();
    assert_eq!(error.code, ErrorCode::Guest);
    assert!(error.causes.iter().any(|cause| cause.contains("No such file")), "{error:?}");
    let error = api.get("/v1/vms/box/files?path=/early").await.error();
    assert!(error.message.contains("cannot even begin"), "{error:?}");
    for path in ["relative", "", "/zero%00byte"] {
        assert_eq!(api.get(&format!("/v1/vms/box/files?path={path}")).await.error().code, ErrorCode::BadRequest);
    }
    assert_eq!(api.get("/v1/vms/box/files").await.error().code, ErrorCode::BadRequest);
}

#[tokio::test]
async fn a_tar_goes_in_unharmed() {
    let api = Api::with_box().await;
    let tar: Vec<u8> = (0..3_000_000u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let answer = api.ask("PUT /v1/vms/box/files?path=/root", &[], tar.clone()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert!(*api.seen.stdin.lock().unwrap() == tar, "other bytes came in");
}

#[tokio::test]
async fn a_guest_that_cannot_take_it_says_so() {
    let api = Api::with_box().await;
    let error = api.ask("PUT /v1/vms/box/files?path=/full", &[], "x").await.error();
    assert_eq!(error.code, ErrorCode::Guest);
    assert_eq!(error.message, "cannot copy /full into box: No space left on device");
}

#[tokio::test]
async fn a_guest_that_neither_takes_nor_sends_is_not_waited_for_for_ever() {
    let api = Api::with_box().await;
    // More than it has room for at once.
    let tar = vec![0; usize::try_from(banger_model::wire::frame::INITIAL_WINDOW).unwrap() + 1];
    let (taken, sent) =
        tokio::join!(api.ask("PUT /v1/vms/box/files?path=/stuck", &[], tar), api.get("/v1/vms/box/files?path=/stuck"),);
    for (answer, way) in [(taken, "into"), (sent, "out of")] {
        let error = answer.error();
        assert_eq!(error.code, ErrorCode::Guest);
        assert!(
            error.message.starts_with(&format!("cannot copy /stuck {way} box: nothing of it came on")),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_makes_the_guest_give_up() {
    let api = Api::with_box().await;
    let stream = UnixStream::connect(api.daemon.socket()).await.unwrap();
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    // A body that never ends.
    let chunk = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"x")))]);
    let body = StreamBody::new(chunk.chain(futures_util::stream::pending()));
    let request = Request::put("/v1/vms/box/files?path=/root").header("host", "x").body(body).unwrap();
    let asking = tokio::spawn(async move { sender.send_request(request).await.map(drop) });
    while api.seen.begun.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    connection.abort();
    asking.abort();
    tokio::time::timeout(BOUND, api.seen.closed.notified()).await.expect("the guest hears of it");
}
