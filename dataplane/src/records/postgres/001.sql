-- Version 1. Times are Unix milliseconds, durations microseconds, money nano-USD, as in SQLite's schema, whose tables
-- these are. Wide columns come first: rows are packed without gaps.

-- The paths of keys to their roots, as JSON arrays, the key itself first. Unique because ids are given under a lock.
CREATE TABLE trees (
  id   BIGINT PRIMARY KEY,
  path TEXT   COLLATE "C" NOT NULL
);

-- One row a model request or tool call. `seq` is the order in which rows became visible: what live views follow.
CREATE SEQUENCE records_seq;
CREATE TABLE records (
  seq             BIGINT   PRIMARY KEY,
  at              BIGINT   NOT NULL,
  expires         BIGINT   NOT NULL,
  tree            BIGINT   NOT NULL,
  total_us        BIGINT   NOT NULL,
  first_byte_us   BIGINT,
  gateway_us      BIGINT   NOT NULL,
  input           BIGINT,
  cache_read      BIGINT,
  cache_write     BIGINT,
  cache_write_1h  BIGINT,
  output          BIGINT,
  reasoning       BIGINT,
  web_searches    BIGINT,
  cost            BIGINT,                      -- NULL: the model has no price
  overrun         BIGINT,
  output_cap      BIGINT,
  id              UUID     NOT NULL UNIQUE,
  source          SMALLINT NOT NULL DEFAULT 2, -- 0 a charge alone, 1 with its billing record, 2 the full record
  kind            SMALLINT NOT NULL,           -- 0 model request, 1 tool call
  status          SMALLINT NOT NULL,
  content         SMALLINT NOT NULL,           -- 0 none, 1 metadata, 2 full, 3 full was asked for but is lost
  stream          SMALLINT,
  usage_estimated SMALLINT,
  is_error        SMALLINT,
  suggested       SMALLINT,
  error           TEXT     COLLATE "C",
  session         TEXT     COLLATE "C",
  user_agent      TEXT     COLLATE "C",
  trace_id        TEXT     COLLATE "C",
  api             TEXT     COLLATE "C",
  model_asked     TEXT     COLLATE "C",
  model           TEXT     COLLATE "C",
  answer_model    TEXT     COLLATE "C",
  answer_id       TEXT     COLLATE "C",
  route           TEXT     COLLATE "C",
  backend         TEXT     COLLATE "C",
  provider        TEXT     COLLATE "C",
  stop            TEXT     COLLATE "C",
  server          TEXT     COLLATE "C",
  tool            TEXT     COLLATE "C",
  method          TEXT     COLLATE "C",
  tool_use_id     TEXT     COLLATE "C",
  prompt          TEXT     COLLATE "C",
  reply           TEXT     COLLATE "C",
  attempts        TEXT     COLLATE "C",        -- JSON arrays and objects from here on
  degradations    TEXT     COLLATE "C",
  metadata        TEXT     COLLATE "C",
  tool_calls      TEXT     COLLATE "C",
  postings        TEXT     COLLATE "C"
);
CREATE INDEX records_at      ON records (at, seq);
CREATE INDEX records_tree    ON records (tree, at, seq);
CREATE INDEX records_model   ON records (model, at, seq)   WHERE model IS NOT NULL;
CREATE INDEX records_session ON records (session, at, seq) WHERE session IS NOT NULL;
CREATE INDEX records_failed  ON records (at, seq)          WHERE status >= 400;
CREATE INDEX records_tool    ON records (at, seq)          WHERE kind = 1;
CREATE INDEX records_use     ON records (tool_use_id)      WHERE tool_use_id IS NOT NULL;
CREATE INDEX records_expires ON records (expires);

-- What a record's content is: packed JSON texts, and ids of blocks, 16 bytes each. Packed already: never packed again.
CREATE TABLE contents (
  seq     BIGINT PRIMARY KEY,
  request BYTEA,
  answer  BYTEA,
  tools   BYTEA,
  system  BYTEA,
  thread  BYTEA
);
ALTER TABLE contents ALTER request SET STORAGE EXTERNAL, ALTER answer SET STORAGE EXTERNAL;

-- Content-addressed pieces: a system block, a whole tools array, a message.
CREATE TABLE blocks (
  size       BIGINT NOT NULL,                  -- bytes before packing
  keep_until BIGINT NOT NULL,
  id         BYTEA  PRIMARY KEY,
  body       BYTEA  NOT NULL
);
ALTER TABLE blocks ALTER body SET STORAGE EXTERNAL;
CREATE INDEX blocks_keep ON blocks (keep_until);

-- Conversations as chains that share their beginnings.
CREATE TABLE nodes (
  keep_until BIGINT NOT NULL,
  id         BYTEA  PRIMARY KEY,
  parent     BYTEA,
  block      BYTEA  NOT NULL
);
CREATE INDEX nodes_keep ON nodes (keep_until);

-- Which answer suggested a tool call.
CREATE TABLE suggestions (
  seq         BIGINT NOT NULL,
  tool_use_id TEXT   COLLATE "C" NOT NULL,
  PRIMARY KEY (tool_use_id, seq)
);
CREATE INDEX suggestions_seq ON suggestions (seq);

-- Words of prompts, answers, errors and tool names by record. No copy of the text is kept here.
CREATE TABLE words (
  seq   BIGINT   PRIMARY KEY,
  words TSVECTOR NOT NULL
);
CREATE INDEX words_words ON words USING gin (words);

-- All that was charged, each once: what the ledger's stream tells, by reservation and how it ended (0 settled, 1 its gateway
-- died, 2 settled after that, 3 a reset). Rows come in the order of `at` and go in it.
CREATE TABLE charges (
  at          BIGINT   NOT NULL,
  cost        BIGINT   NOT NULL,
  input       BIGINT   NOT NULL,
  output      BIGINT   NOT NULL,
  reservation UUID     NOT NULL,
  request     UUID     NOT NULL,
  how         SMALLINT NOT NULL,
  root        TEXT     COLLATE "C" NOT NULL,
  position    TEXT     COLLATE "C" NOT NULL,   -- in the root's stream
  postings    TEXT     COLLATE "C" NOT NULL,   -- JSON
  PRIMARY KEY (reservation, how)
);
CREATE INDEX charges_at ON charges USING brin (at) WITH (pages_per_range = 32);

-- The postings of all charges, summed by counter: what the ledger is restored from, and compared with. Outlives records
-- and keys.
CREATE TABLE counters (
  window_start BIGINT   NOT NULL,
  window_end   BIGINT   NOT NULL,
  last_limit   BIGINT   NOT NULL,
  amount       BIGINT   NOT NULL,
  unit         SMALLINT NOT NULL,              -- 0 nano-USD, 1 tokens
  key          TEXT     COLLATE "C" NOT NULL,
  budget       TEXT     COLLATE "C" NOT NULL,
  root         TEXT     COLLATE "C" NOT NULL DEFAULT '',
  PRIMARY KEY (key, budget, window_start, window_end, unit)
);
CREATE INDEX counters_end ON counters (window_end);

-- Sums by hour: spend pages never scan records, and survive their retention.
CREATE TABLE spend (
  hour        BIGINT   NOT NULL,
  tree        BIGINT   NOT NULL,
  requests    BIGINT   NOT NULL,
  failed      BIGINT   NOT NULL,
  unpriced    BIGINT   NOT NULL,
  input       BIGINT   NOT NULL,
  cache_read  BIGINT   NOT NULL,
  cache_write BIGINT   NOT NULL,
  output      BIGINT   NOT NULL,
  cost        BIGINT   NOT NULL,
  kind        SMALLINT NOT NULL,
  name        TEXT     COLLATE "C" NOT NULL,
  PRIMARY KEY (hour, kind, tree, name)
);

-- Histograms of requests that succeeded, by hour and by day.
CREATE TABLE latencies (
  slot   BIGINT   NOT NULL,
  tree   BIGINT   NOT NULL,
  count  BIGINT   NOT NULL,
  span   SMALLINT NOT NULL,                    -- hours: 1 or 24
  kind   SMALLINT NOT NULL,
  part   SMALLINT NOT NULL,                    -- 0 total, 1 first byte, 2 in the gateway
  bucket SMALLINT NOT NULL,
  name   TEXT     COLLATE "C" NOT NULL,
  PRIMARY KEY (span, slot, kind, tree, name, part, bucket)
);

-- Entries of the ledger's stream that could not be understood or stored: for people to look at.
CREATE TABLE set_aside (
  at       BIGINT NOT NULL,
  root     TEXT   COLLATE "C" NOT NULL,
  position TEXT   COLLATE "C" NOT NULL,
  reason   TEXT   COLLATE "C" NOT NULL,
  entry    TEXT   COLLATE "C" NOT NULL,
  PRIMARY KEY (root, position)
);

-- Work that one gateway does for all: who, and until when.
CREATE TABLE leases (
  name   TEXT        PRIMARY KEY,
  holder TEXT        NOT NULL,
  until  TIMESTAMPTZ NOT NULL
);

-- The ledger's generations, the newest last: whether an empty Redis is new or was emptied.
CREATE TABLE generations (
  number     BIGSERIAL PRIMARY KEY,
  generation TEXT      NOT NULL UNIQUE,
  at         BIGINT    NOT NULL
);
