//! The tables and the tools on them.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Some tables of rows.
#[derive(Debug)]
pub struct Database {
    name: String,
    tables: BTreeMap<String, Vec<Value>>,
}

/// What a tool answers.
pub type Outcome = Result<Value, String>;

// === impl Database ===

impl Database {
    /// A database with two tables; every row names the database.
    pub fn new(name: &str) -> Self {
        let row = |id: u32, who: &str| json!({"id": id, "name": who, "database": name});
        let customers = vec![row(1, "Ada Lovelace"), row(2, "Grace Hopper"), row(3, "Katherine Johnson")];
        let order = |id: u32, total: &str| json!({"id": id, "customer": 1, "total": total, "database": name});
        let orders = vec![order(10, "129.00"), order(11, "9.50")];
        let tables = [("customers", customers), ("orders", orders)];
        let tables = tables.into_iter().map(|(n, rows)| (n.to_owned(), rows)).collect();
        Database { name: name.to_owned(), tables }
    }

    /// Calls a tool; `None` when there is none of this name. `Err` is the tool's own error.
    pub fn call(&mut self, tool: &str, arguments: &Value) -> Option<Outcome> {
        let text = |f: &str| arguments.get(f).and_then(Value::as_str).unwrap_or_default();
        Some(match tool {
            "query" => self.query(text("sql")),
            "list_tables" => {
                Ok(json!({"database": self.name, "tables": self.tables.keys().collect::<Vec<_>>()}))
            }
            "write_row" => self.write(text("table"), arguments.get("row")),
            "drop_table" => match self.tables.remove(text("table")) {
                Some(rows) => Ok(json!({"dropped": text("table"), "rows": rows.len()})),
                None => Err(format!("no table {}", text("table"))),
            },
            _ => return None,
        })
    }

    /// `select … from TABLE`, or `select count(*) from TABLE`: as much SQL as a fake needs.
    fn query(&self, sql: &str) -> Outcome {
        let lower = sql.to_lowercase();
        let mut words = lower.split_whitespace().skip_while(|w| *w != "from").skip(1);
        let table = words.next().map(|w| w.trim_end_matches(';')).unwrap_or_default();
        if !lower.trim_start().starts_with("select") {
            return Err(format!("only select is allowed: {sql}"));
        }
        let rows = self.tables.get(table).ok_or_else(|| format!("no table {table} in: {sql}"))?;
        if lower.contains("count(*)") {
            return Ok(json!({"rows": [{"count": rows.len()}]}));
        }
        Ok(json!({"rows": rows}))
    }

    fn write(&mut self, table: &str, row: Option<&Value>) -> Outcome {
        let rows = self.tables.get_mut(table).ok_or_else(|| format!("no table {table}"))?;
        let row = row.filter(|r| r.is_object()).ok_or("row must be an object")?;
        rows.push(row.clone());
        Ok(json!({"written": 1, "rows": rows.len()}))
    }
}

/// The tools' definitions, as two pages.
pub fn pages() -> [Vec<Value>; 2] {
    let text = |d: &str| json!({"type": "string", "description": d});
    let object = |p: Value, r: Value| json!({"type": "object", "properties": p, "required": r});
    let table = || json!({"table": text("The table's name")});
    let read = vec![
        json!({
            "name": "query", "title": "Query", "description": "Runs a select statement and returns its rows.",
            "inputSchema": object(json!({"sql": text("A select statement")}), json!(["sql"])),
            "annotations": {"readOnlyHint": true},
        }),
        json!({
            "name": "list_tables", "description": "Lists the tables.",
            "inputSchema": {"type": "object", "properties": {}},
            "annotations": {"readOnlyHint": true},
        }),
    ];
    let row = json!({"table": text("The table's name"), "row": {"type": "object", "description": "The row"}});
    let write = vec![
        json!({
            "name": "write_row", "description": "Adds a row to a table.",
            "inputSchema": object(row, json!(["table", "row"])),
            "annotations": {"readOnlyHint": false, "destructiveHint": false},
        }),
        json!({
            "name": "drop_table", "description": "Drops a table and all its rows.",
            "inputSchema": object(table(), json!(["table"])),
            "annotations": {"readOnlyHint": false, "destructiveHint": true},
        }),
    ];
    [read, write]
}
