//! Where clients find it: names, sockets, several addresses.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use child::ports::free_ports;

use crate::http;
use crate::member::{await_ready, bare, binary};

#[test]
fn localhost_is_an_address() {
    let folder = tempfile::tempdir().expect("make a folder");
    let [client, peer] = free_ports();
    let client_url = format!("http://localhost:{client}");
    let peer_url = format!("http://localhost:{peer}");
    let mut command = bare(binary(), folder.path());
    command
        .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
        .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
        .args(["--initial-cluster", &format!("default={peer_url}")]);
    let (mut running, _) = await_ready(&mut command).expect("it starts");
    assert_eq!(http::get(client, "/health").0, 200);
    TcpStream::connect(("127.0.0.1", peer)).expect("its members' port is taken");
    assert_eq!(running.terminate().expect("it ends").code(), Some(0));
}

#[test]
fn a_socket_in_the_file_system_serves_clients() {
    let folder = tempfile::tempdir().expect("make a folder");
    let [client, peer] = free_ports();
    let mut arguments = crate::member::command(folder.path(), client, peer);
    let socket = folder.path().join("clients.sock");
    let both = format!("unix://{},http://127.0.0.1:{client}", socket.display());
    arguments.args(["--listen-client-urls", &both]);
    for _ in 0..2 {
        // The second start finds the socket that the first has left, or not.
        let (mut running, _) = await_ready(&mut arguments).expect("it starts");
        let mut stream = UnixStream::connect(&socket).expect("connect");
        let request = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("send");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("receive");
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        assert_eq!(http::get(client, "/health").0, 200, "and so does the other address");
        running.kill();
    }
}
