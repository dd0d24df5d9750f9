use metastore_proto::etcdserverpb::{PutRequest, PutResponse};
use tokio::net::TcpListener;

use super::*;

/// Answers every call with these pieces of a body and this status.
async fn script(pieces: Vec<Vec<u8>>, status: &'static str) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("the client connects");
        let mut connection = h2::server::handshake(socket).await.expect("it speaks HTTP/2");
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            let head = http::Response::new(());
            let mut body = respond.send_response(head, false).expect("a response");
            for piece in &pieces {
                body.send_data(piece.clone().into(), false).expect("a piece");
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static(status));
            trailers.insert("grpc-message", HeaderValue::from_static("because"));
            body.send_trailers(trailers).expect("trailers");
        }
    });
    Connection::open(address, WINDOW_BYTES).await.expect("a connection")
}

fn response() -> PutResponse {
    PutResponse {
        header: Some(metastore_proto::etcdserverpb::ResponseHeader {
            revision: 7,
            ..Default::default()
        }),
        prev_kv: None,
    }
}

#[tokio::test]
async fn a_message_in_many_pieces_is_one_message() {
    let frame = framed(&response());
    let connection = script(frame.iter().map(|byte| vec![*byte]).collect(), "0").await;
    let answer: PutResponse =
        connection.call(method::PUT, &PutRequest::default()).await.expect("an answer");
    assert_eq!(answer, response());
}

#[tokio::test]
async fn messages_of_one_piece_come_one_by_one() {
    let frames = [framed(&response()), framed(&PutResponse::default())].concat();
    let connection = script(vec![frames.clone()], "0").await;
    let call = connection.begin(method::PUT, &PutRequest::default(), true).await;
    let mut responses = call.expect("a call");
    assert_eq!(responses.message().await.expect("whole"), Some(response()));
    assert_eq!(responses.message().await.expect("whole"), Some(PutResponse::default()));
    assert_eq!(responses.message::<PutResponse>().await.expect("a good end"), None);

    let call = connection.begin(method::PUT, &PutRequest::default(), true).await;
    let mut drained = 0;
    call.expect("a call").drain(&mut drained).await.expect("a good end");
    assert_eq!(drained, u64::try_from(frames.len()).expect("small"));
}

#[tokio::test]
async fn a_status_in_the_trailers_is_an_error() {
    let connection = script(vec![framed(&response()).to_vec()], "8").await;
    let answer = connection.call::<PutResponse>(method::PUT, &PutRequest::default()).await;
    let error = answer.expect_err("the status is not zero");
    assert_eq!(error.to_string(), "the server answered 8: because");
}
