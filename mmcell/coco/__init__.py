"""The one home of the COCO json: its schema, masks, truth, results, submissions, fusion."""
