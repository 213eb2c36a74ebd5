//! What the server says of itself while disks are away, and how it ends while clients stand still.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::server::{Server, complained, said};

/// Disks are looked at each second or so.
const PATIENCE: Duration = Duration::from_secs(30);

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap()
}

fn get(server: &Server, path: &str) -> String {
    let mut stream = connect(server);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn disks_that_are_away_are_told_from_the_rest_and_none_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("d"), &["--disks", "3", "--tls", "off"], &[]);
    let status = || said(&server.run(&["status"]));
    assert!(status().contains("disks:     3 of 3 serve\n"), "{}", status());
    let away = |number: u32| {
        fs::rename(server.home.join(format!("disk-{number}")), folder.path().join(format!("away-{number}"))).unwrap();
    };
    away(1);
    wait_for("a disk that is away is told of", || status().contains("2 of 3 serve; 1 serve nothing"));
    assert_eq!(said(&server.run(&["healthcheck"])), "ready\n");
    away(0);
    away(2);
    wait_for("no disk, not ready", || get(&server, "/-/ready").starts_with("HTTP/1.1 503 "));
    assert!(get(&server, "/-/ready").contains("too few disks are in service"));
    assert!(get(&server, "/-/live").starts_with("HTTP/1.1 200 "));
    assert!(complained(&server.run(&["healthcheck"]), 1).contains("answered 503"));
    for number in 0..3 {
        let back = server.home.join(format!("disk-{number}"));
        fs::rename(folder.path().join(format!("away-{number}")), back).unwrap();
    }
    wait_for("disks that are back serve", || get(&server, "/-/ready").ends_with("ready\n"));
    server.kill();
}

#[test]
fn clients_that_stand_still_do_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("d"), &["--disks", "1", "--tls", "off"], &[]);
    let mut half_head = connect(&server);
    half_head.write_all(b"PUT /bucket/key HTTP/1.1\r\nHost: x\r\n").unwrap();
    let mut half_body = connect(&server);
    half_body.write_all(b"PUT /bucket/key HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc").unwrap();
    let idle = connect(&server);
    assert!(get(&server, "/-/live").contains("live"));
    let begun = Instant::now();
    assert_eq!(server.stop().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    drop((half_head, half_body, idle));
}
