-- quarantine_member: archive a task of an aggregation set that nobody can read.
-- KEYS[1] zset of the set   KEYS[2] hash task   KEYS[3] zset archived   KEYS[4] zset locks
-- ARGV[1] string id   ARGV[2] bytes message that stands in for it   ARGV[3] int now, Unix s
-- Returns: 1 (archived) or 0 (no longer in the set, nothing changed)
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
redis.call('HSET', KEYS[2], 'msg', ARGV[2], 'state', 'archived')
unlock(redis.call('HGET', KEYS[2], 'unique_key'), ARGV[1], KEYS[4])
return 1
