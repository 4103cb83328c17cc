-- Remembers what the schema looks like now, after every other file. A later version ends with the same call.
-- Builds on: doctor_shape.

select hangar.record_shape();
