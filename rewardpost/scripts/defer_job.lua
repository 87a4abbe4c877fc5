#!lua flags=allow-oom
-- Gives a running job back to the queue.
-- KEYS: 1-4 the job: queue, payload, in-progress, retry
-- ARGV: 1 job id, 2 delay in ms, 3 whether the try is given back (1 or 0)
--@include jobs
defer_job({KEYS[1], KEYS[2], KEYS[3], KEYS[4]}, ARGV[1], time_ms() + ARGV[2], tonumber(ARGV[3]))
return 'deferred'
