"""Questions about the photographs of coco_mini: its own caption against one of another photograph.

python questions.py coco_mini/captions.csv > questions.csv
"""

import csv
import sys

if __name__ == "__main__":
    with open(sys.argv[1], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["file", "caption", "wrong"])
    for i, row in enumerate(rows):
        out.writerow([row["file"], row["caption1"], rows[(i + 1) % len(rows)]["caption1"]])
