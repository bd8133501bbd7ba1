-- take_keeper: become or stay the one process that keeps a queue, looks at its groups, or mirrors schedules.
-- KEYS[1] string keeper, aggregator, or turn
-- ARGV[1] string who   ARGV[2] int turn, ms
-- Returns: 1 (theirs) or 0 (another's)
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
