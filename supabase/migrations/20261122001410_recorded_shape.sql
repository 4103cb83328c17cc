-- Records the schema after all other files are applied. The last file of every later version makes the same call.
-- Builds on: doctor_shape.

select hangar.record_shape();
