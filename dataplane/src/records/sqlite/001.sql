-- Version 1. Plain types only (INTEGER, TEXT, BLOB), so that a PostgreSQL twin needs no translation but bigint and bytea.
-- Times are Unix milliseconds, durations microseconds, money nano-USD.

-- The paths of keys to their roots, as JSON arrays, the key itself first. Few rows: records point to them, and a viewer's
-- scope becomes a short list of these ids.
CREATE TABLE trees (
  id   INTEGER PRIMARY KEY,
  path TEXT NOT NULL UNIQUE
);

-- One row a model request or tool call. `seq` is the order of writing: what live views follow.
CREATE TABLE records (
  seq             INTEGER PRIMARY KEY,
  id              BLOB    NOT NULL UNIQUE,
  at              INTEGER NOT NULL,
  expires         INTEGER NOT NULL,
  kind            INTEGER NOT NULL,          -- 0 model request, 1 tool call
  tree            INTEGER NOT NULL,
  status          INTEGER NOT NULL,
  error           TEXT,
  session         TEXT,
  user_agent      TEXT,
  trace_id        TEXT,
  total_us        INTEGER NOT NULL,
  first_byte_us   INTEGER,
  gateway_us      INTEGER NOT NULL,
  content         INTEGER NOT NULL,          -- 0 none, 1 metadata, 2 full, 3 full was asked for but dropped under load
  api             TEXT,
  stream          INTEGER,
  model_asked     TEXT,
  model           TEXT,
  answer_model    TEXT,
  answer_id       TEXT,
  route           TEXT,
  backend         TEXT,
  provider        TEXT,
  stop            TEXT,
  input           INTEGER,
  cache_read      INTEGER,
  cache_write     INTEGER,
  cache_write_1h  INTEGER,
  output          INTEGER,
  reasoning       INTEGER,
  web_searches    INTEGER,
  usage_estimated INTEGER,
  cost            INTEGER,                   -- NULL: the model has no price
  overrun         INTEGER,
  output_cap      INTEGER,
  server          TEXT,
  tool            TEXT,
  method          TEXT,
  is_error        INTEGER,
  tool_use_id     TEXT,
  suggested       INTEGER,
  prompt          TEXT,                      -- the beginning of the newest user message, or of a tool's arguments
  reply           TEXT,                      -- the beginning of the answer, or of a tool's result
  attempts        TEXT,                      -- JSON arrays and objects from here on
  degradations    TEXT,
  metadata        TEXT,
  tool_calls      TEXT,
  postings        TEXT
);
CREATE INDEX records_at      ON records (at);
CREATE INDEX records_tree    ON records (tree, at);
CREATE INDEX records_model   ON records (model, at)   WHERE model IS NOT NULL;
CREATE INDEX records_session ON records (session, at) WHERE session IS NOT NULL;
CREATE INDEX records_failed  ON records (at)          WHERE status >= 400;
CREATE INDEX records_tool    ON records (at)          WHERE kind = 1;
CREATE INDEX records_use     ON records (tool_use_id) WHERE tool_use_id IS NOT NULL;
CREATE INDEX records_expires ON records (expires);

-- What a record's content is: packed JSON texts (first byte 0: as it is, 1: zstd), and ids of blocks, 16 bytes each.
CREATE TABLE contents (
  seq     INTEGER PRIMARY KEY,
  request BLOB,                              -- the whole request when small or unreadable, else its parameters
  answer  BLOB,
  tools   BLOB,                              -- one block id
  system  BLOB,                              -- block ids, one after the other
  thread  BLOB                               -- the last node of the conversation
);

-- Content-addressed pieces: a system block, a whole tools array, a message. The id is over the namespace and the bytes.
CREATE TABLE blocks (
  id         BLOB    PRIMARY KEY,
  size       INTEGER NOT NULL,               -- bytes before packing
  body       BLOB    NOT NULL,
  keep_until INTEGER NOT NULL
);
CREATE INDEX blocks_keep ON blocks (keep_until);

-- Conversations as chains that share their beginnings: a node is its parent and one message, its id the hash of both.
-- A turn adds the nodes that are new, whatever the conversation's length.
CREATE TABLE nodes (
  id         BLOB    PRIMARY KEY,
  parent     BLOB,
  block      BLOB    NOT NULL,
  keep_until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX nodes_keep ON nodes (keep_until);

-- Which answer suggested a tool call.
CREATE TABLE suggestions (
  tool_use_id TEXT    NOT NULL,
  seq         INTEGER NOT NULL,
  PRIMARY KEY (tool_use_id, seq)
) WITHOUT ROWID;
CREATE INDEX suggestions_seq ON suggestions (seq);

-- The postings of all records, summed by counter: what the ledger is rebuilt from. Outlives records and keys.
CREATE TABLE counters (
  key          TEXT    NOT NULL,
  budget       TEXT    NOT NULL,
  window_start INTEGER NOT NULL,
  window_end   INTEGER NOT NULL,
  unit         INTEGER NOT NULL,             -- 0 nano-USD, 1 tokens
  last_limit   INTEGER NOT NULL,
  amount       INTEGER NOT NULL,
  PRIMARY KEY (key, budget, window_start, window_end, unit)
) WITHOUT ROWID;
CREATE INDEX counters_end ON counters (window_end);

-- Sums by hour: spend pages never scan records, and survive their retention.
CREATE TABLE spend (
  hour        INTEGER NOT NULL,              -- Unix hours
  kind        INTEGER NOT NULL,
  tree        INTEGER NOT NULL,
  name        TEXT    NOT NULL,              -- the model, or server and tool
  requests    INTEGER NOT NULL,
  failed      INTEGER NOT NULL,
  unpriced    INTEGER NOT NULL,
  input       INTEGER NOT NULL,
  cache_read  INTEGER NOT NULL,
  cache_write INTEGER NOT NULL,
  output      INTEGER NOT NULL,
  cost        INTEGER NOT NULL,
  PRIMARY KEY (hour, kind, tree, name)
) WITHOUT ROWID;

-- Histograms of requests that succeeded, by hour (kept for days) and by day (kept as long as spend), so that a month is
-- not read hour by hour; a bucket is a quarter of a power of two.
CREATE TABLE latencies (
  span   INTEGER NOT NULL,                   -- hours: 1 or 24
  slot   INTEGER NOT NULL,                   -- Unix hours / span
  kind   INTEGER NOT NULL,
  tree   INTEGER NOT NULL,
  name   TEXT    NOT NULL,
  part   INTEGER NOT NULL,                   -- 0 total, 1 first byte, 2 in the gateway
  bucket INTEGER NOT NULL,
  count  INTEGER NOT NULL,
  PRIMARY KEY (span, slot, kind, tree, name, part, bucket)
) WITHOUT ROWID;

-- Words of prompts, answers, errors and tool names by record. No copy of the text is kept here.
CREATE VIRTUAL TABLE words USING fts5(
  text, content = '', contentless_delete = 1, detail = 'none', tokenize = "unicode61 remove_diacritics 2 tokenchars '_'"
);
