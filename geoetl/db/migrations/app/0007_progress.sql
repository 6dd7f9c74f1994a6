-- How far a running attempt says it is: {attempt, steps done, steps in all}. Of a later attempt it says nothing, so it
-- need not be emptied. Without an index on it, an update is HOT.
ALTER TABLE geoetl.task ADD COLUMN progress int[];
