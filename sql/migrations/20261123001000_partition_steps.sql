-- How each partitioned table is cut. A test compares this list with the catalogue.

create table private.partition_steps (
    parent text primary key,
    step text not null check (step in ('day', 'month')),
    fill_factor smallint not null default 100 check (fill_factor between 10 and 100),
    ahead interval not null
);
insert into private.partition_steps (parent, step, fill_factor, ahead) values
    ('hourly_facts', 'day', 90, '3 days'),
    ('metric_observations', 'day', 90, '3 days'),
    ('raw_data_backup', 'day', 100, '3 days'),
    ('event_tracking', 'day', 100, '3 days'),
    ('realtime_sessions', 'day', 70, '3 days'),
    ('daily_facts', 'month', 90, '40 days'),
    ('sync_logs', 'month', 90, '40 days'),
    ('partition_ledger', 'month', 80, '40 days');
comment on column private.partition_steps.ahead is 'How far beyond now partitions are kept ready.';
