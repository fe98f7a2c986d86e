"""Train the model, classify and draw all 1,797 digits, and write predictions.jsonl and contact_sheet.png."""

from contextlib import closing
from pathlib import Path
from time import perf_counter

from my_pipeline.contact_sheet import accuracy, contact_sheet
from my_pipeline.digits import Prediction, Tile, read_digits
from my_pipeline.model import train
from my_pipeline.pipeline import build_pipeline
from my_pipeline.settings import Settings
from my_pipeline.sinks import Outputs

OUTPUTS = Path("outputs")
MODEL = OUTPUTS / "model.pickle"
PREDICTIONS = OUTPUTS / "predictions.jsonl"
SHEET = OUTPUTS / "contact_sheet.png"


def main() -> None:
    start = perf_counter()
    train(MODEL)
    print(f"trained     in {perf_counter() - start:.2f} s")

    pipeline = build_pipeline(Settings(model_file=MODEL))
    held_out: list[Tile] = []
    with Outputs() as outputs, closing(pipeline.run(read_digits())) as tiles:
        sink = outputs.add(PREDICTIONS, overwrite=True)
        for tile in tiles:
            sink.write(as_json(tile.prediction))
            if tile.prediction.digit.held_out:
                held_out.append(tile)
    contact_sheet(held_out).save(SHEET, optimize=True)

    report = pipeline.report
    wrong = sum(not tile.prediction.right for tile in held_out)
    rate = report.delivered / report.seconds
    print(f"accuracy    {accuracy(held_out):.2%}: {wrong} of {len(held_out)} held-out digits wrong")
    print(f"throughput  {rate:,.0f} digits a second: {report.delivered:,} in {report.seconds:.2f} s")
    if report.bottleneck is not None:
        print(f"bottleneck  {report.bottleneck.name}, busy {report.bottleneck.busy:.0%} of the time")
    print(f"outputs     {PREDICTIONS}, {SHEET}")


def as_json(prediction: Prediction) -> dict[str, object]:
    return {
        "index": prediction.digit.index,
        "truth": prediction.digit.truth,
        "predicted": prediction.predicted,
        "confidence": round(prediction.confidence, 4),
        "held_out": prediction.digit.held_out,
    }


if __name__ == "__main__":
    main()
