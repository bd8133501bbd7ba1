use std::process::{Child, Command, Stdio};
pub struct RedisServer { port: u16, child: Child, _dir: tempfile::TempDir }
impl RedisServer {
    pub fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server").args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--dir"]).arg(dir.path()).stdout(Stdio::null()).spawn().unwrap();
        let s = Self { port, child, _dir: dir };
        for _ in 0..200 { if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() { break } std::thread::sleep(std::time::Duration::from_millis(10)); }
        s
    }
    pub fn endpoint(&self) -> cronmill::broker::Endpoint { format!("redis://127.0.0.1:{}", self.port).parse().unwrap() }
    pub fn cli(&self, args: &[&str]) -> String {
        let out = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(args).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }
}
impl Drop for RedisServer { fn drop(&mut self) { let _ = self.child.kill(); let _ = self.child.wait(); } }
