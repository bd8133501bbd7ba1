//! A shop's database for one test, and a judge that shares no code with ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use cronmill::handlers::shop_data::{ShopSize, generate};
use tempfile::TempDir;

/// A generated shop in a folder of its own.
pub struct Fixture {
    _folder: TempDir,
    /// Its database.
    pub path: PathBuf,
}

impl Fixture {
    /// A new shop.
    pub async fn with(size: ShopSize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        generate(&path, size).await.unwrap();
        Self { _folder: folder, path }
    }

    /// [`judge`] on this shop.
    pub fn judge(&self, sql: &str) -> Vec<String> {
        judge(&self.path, sql)
    }

    /// Users whose earnings are not the sum of their paid orders, as `user|earned|owed`.
    pub fn wrong_earnings(&self) -> Vec<String> {
        self.judge(
            "SELECT u.id, COALESCE(e.amount_cents, 0) AS earned, COALESCE(s.sum, 0) AS owed
             FROM users u LEFT JOIN earnings e ON e.user_id = u.id LEFT JOIN
                (SELECT user_id, SUM(amount_cents) AS sum FROM orders WHERE status = 'paid' GROUP BY user_id) s
                ON s.user_id = u.id
             WHERE earned <> owed",
        )
    }

    /// Users whose earnings are not what their orders say was credited: there must never be one.
    pub fn torn_earnings(&self) -> Vec<String> {
        self.judge(
            "SELECT u.id, COALESCE(e.amount_cents, 0) AS earned, COALESCE(s.sum, 0) AS credited
             FROM users u LEFT JOIN earnings e ON e.user_id = u.id LEFT JOIN
                (SELECT user_id, SUM(credited_cents) AS sum FROM orders GROUP BY user_id) s
                ON s.user_id = u.id
             WHERE earned <> credited",
        )
    }

    /// The one number that a statement answers.
    pub fn count(&self, sql: &str) -> u64 {
        self.judge(sql).concat().parse().unwrap()
    }

    /// Orders that stand in somebody's earnings.
    pub fn credited(&self) -> u64 {
        self.count("SELECT COUNT(*) FROM orders WHERE credited_cents <> 0")
    }

    /// Paid orders.
    pub fn paid(&self) -> u64 {
        self.count("SELECT COUNT(*) FROM orders WHERE status = 'paid'")
    }
}

/// Runs one statement with a program that shares no code with ours; columns are joined by `|`.
pub fn judge(path: &Path, sql: &str) -> Vec<String> {
    const PYTHON: &str = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1], timeout=30)\n\
        for row in db.execute(sys.argv[2]): print('|'.join(str(value) for value in row))\n\
        db.commit()";
    let by_cli = Command::new("sqlite3").arg("-cmd").arg(".timeout 30000").arg(path).arg(sql).output();
    let output = match by_cli {
        Ok(output) => output,
        Err(_) => Command::new("python3")
            .args(["-c", PYTHON])
            .arg(path)
            .arg(sql)
            .output()
            .expect("sqlite3 or python3 is installed: the totals need a judge"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
