-- What of a message goes out: {"part": n}, {"fields": [types]} or both; null is all of it. Shape in message/portion.ts.
alter table delivery add column portion json;
alter table decision add column portion json;
