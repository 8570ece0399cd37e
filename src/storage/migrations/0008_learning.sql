-- What was learnt from people's decisions: for each target the probability that people choose it (routing/learning).
create table learning_model (
  tenant int not null references tenant,
  version int not null,
  made_at timestamptz not null default now(),
  -- Decisions that were over by then are in it, as far as their messages were kept.
  through timestamptz not null,
  -- Messages it was learnt from.
  decisions int not null,
  -- Shape in routing/learning/model.ts. Holds no word of a message: features are there as keyed hashes.
  body json not null,
  -- How well each target is learnt; shape in routing/learning/measure.ts.
  measures json not null,
  -- Some plan names it: kept for as long as its decisions can be explained.
  used boolean not null default false,
  primary key (tenant, version)
);

-- The newest decisions that teach something. A decision is over when its hold is.
create index decision_learnt on decision (tenant, hold_until)
  where action in ('assign', 'unassign', 'close', 'reopen');

-- Owners take a new model as they take new rules (storage/directory.ts). Whether one was used concerns none of them.
create constraint trigger configuration_changed after insert on learning_model
  deferrable initially deferred for each row execute function raise_configuration_version();
