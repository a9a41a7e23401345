-- Version 2. Which holds died in the last days: what a restored ledger is told of them, beside which charges by the hundred
-- thousand came about otherwise.
CREATE INDEX charges_died ON charges (at) WHERE how IN (1, 2);
