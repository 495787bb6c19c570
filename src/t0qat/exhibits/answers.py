"""What each experiment answers, in a few sentences of Markdown.

Every number and direction in them is a macro's, or looked up as pipeline.lookups says. They stand below
a notebook's first figure; that of table1 stands in the README too.
"""

import html

from t0qat.pipeline.lookups import KINDS, Lookup, Read

ANSWERS = {
    "table1": """
        Over {Count:table1_paired/quantity=drop_difference/n} paired replicates, {TableOneReportedInside}
        reported numbers lie in the middle 95 % of single runs. T0-QAT's expected drop is
        {Direction:table1_paired/quantity=drop_difference} Standard QAT's (difference
        {Interval:table1_paired/quantity=drop_difference}); two separate runs show the reported reduction
        of {TableOneReportedReduction} % or more with probability
        {Percent:table1_paired/quantity=chance_of_reported_reduction} %, and T0-QAT ends with the larger
        quantized loss with probability {Percent:table1_paired/quantity=chance_t0_worse_quantized} %.
    """,
    "integer_grids": """
        Over {Count:integer_grids_overall/dataset=synthetic, quantity=drop/n} paired replicates, and
        averaged over bit-widths and grids, T0-QAT's loss after rounding minus Standard QAT's is
        {GridsOverallQuantized}; for the drop the difference is {GridsOverallDrop}. Of
        {Count:integer_grids_paired/other=standard_qat, quantity=drop} single comparisons, T0-QAT's loss
        after rounding is smaller in {GridsQuantizedSmaller}, larger in {GridsQuantizedLarger} and not
        decided in {GridsQuantizedUnclear}; its drop is smaller in {GridsDropSmaller}, larger in
        {GridsDropLarger} and not decided in {GridsDropUnclear}.
    """,
    "theory": """
        By theory alone, a second run's drop is smaller by the reported fraction or more with probability
        {TheoryExactReduction} % for T0-QAT after Standard QAT, {TheoryExactStandard} % for two runs of
        Standard QAT, and {TheoryExactT} % for two runs of T0-QAT. Of {Count:theory_reduction} such
        chances, {TheoryReductionBeyond} lie farther from simulation than luck explains. After the
        published epochs T0-QAT explains {TheoryConstant} of the target's variance; after {TheoryLongest}
        times as many it explains {TheoryConstantLong} at a constant learning rate and
        {TheoryDecayingLong} at a falling one. Training without noise explains {TheoryPlainLong} %.
    """,
    "scale": """
        The loss under evaluation noise is smallest at `xi_scaling` = {ScaleBest} (95 % interval
        {ScaleBestInterval}); {ScaleBestEqual} are not detectably above it. At the published scaling the
        loss is {Direction:scale_excess/xi_scaling=80000, quantity=quantized} the least one (difference
        {Interval:scale_excess/xi_scaling=80000, quantity=quantized}), with xi alone, a scaling of 1, it
        is {Direction:scale_excess/xi_scaling=1, quantity=quantized} it
        ({Interval:scale_excess/xi_scaling=1, quantity=quantized}), and without noise it is
        {Direction:scale_excess/xi_scaling=0, quantity=quantized} it
        ({Interval:scale_excess/xi_scaling=0, quantity=quantized}). Before evaluation noise the model
        explains {Percent:scale/xi_scaling=80000, quantity=explained_full_precision} % of the target's
        variance as published, {Percent:scale/xi_scaling=1, quantity=explained_full_precision} % with xi
        alone, and {Percent:scale/xi_scaling=0, quantity=explained_full_precision} % without noise.
    """,
    "constants": """
        Of {Count:constants/quantity=unexplained_added} comparisons of noise at a constant's own size
        with no noise, {ConstantsLarger} leave more unexplained, {ConstantsSmaller} leave less, and
        {ConstantsUnclear} are not decided. At the published product, the largest difference of a trained
        weight from the one trained with xi is {ConstantsLargestDifference}.
    """,
    "calibration": """
        Of {Count:calibration/quantity=acceptance} settings, {CalibrationRuledOut} are ruled out and
        {CalibrationLeft} are left. Among those left, T0-QAT's expected drop is smaller in
        {CalibrationDropSmaller}, larger in {CalibrationDropLarger} and not decided in
        {CalibrationDropUnclear}. It ends with the smaller quantized loss in more than half of the pairs
        of runs in {CalibrationQuantizedSmaller}, with the larger in {CalibrationQuantizedLarger};
        {CalibrationQuantizedUnclear} are not decided.
    """,
    "precision": """
        Over all data sets, methods and grids, {Count:precision_knee/quantity=knee} cases, accuracy
        starts to fall at {PrecisionKneeRange} bits on average, and the step equals xi at
        {PrecisionXiRange} bits. The second lies above the first in {PrecisionDifferenceAbove} cases and
        below it in {PrecisionDifferenceBelow}; in {PrecisionNear} they lie within one bit of each other.
        Inverting the lowest bits adds less with T0-QAT than with another method in
        {PrecisionFlipsSmaller} of {Count:precision_flips/method=t0_qat} comparisons and more in
        {PrecisionFlipsLarger}; {PrecisionFlipsUnclear} are not decided, and {PrecisionFlipsSame} show
        exactly the same.
    """,
    "vision": """
        On small image networks (at most {VisionReplicates} paired seeds; {VisionArms} arms, tuned at
        equal budgets but for noise of a fixed scale; tuning chose a learning rate at an end of the range
        for {VisionEdgeRate}; going inside costs more than the margin for {VisionOpenEdge}) these lost
        least in tuning: {VisionReference}. Against what did so over all widths, the test loss of T0-QAT
        as published is {VisionDifferencesPublishedBest}; with a tuned scale it is
        {VisionDifferencesTunedBest}. The loss of plain training that is not rounded is kept, within the
        margin of {VisionMargin} nats or a tenth of what rounding costs, by {VisionKept}.
    """,
    "language": """
        On small language models ({LanguageReplicates} paired seeds; {LanguageArms} arms, tuned at equal
        budgets; tuning chose a learning rate at an end of the range for {LanguageEdgeRate}; going inside
        costs more than the margin for {LanguageOpenEdge}) these lost least in tuning:
        {LanguageReference}. Against what did so over all widths, the bits per character of T0-QAT as
        published are {LanguageDifferencesPublishedBest}; with a tuned scale they are
        {LanguageDifferencesTunedBest}. The bits of plain fine-tuning that is not rounded are kept,
        within the margin of {LanguageMargin} or a tenth of what rounding costs, by {LanguageKept}.
    """,
    "response": """
        Explored on validation parts, to decide nothing. With the same budget, and each at its best of
        {ResponseRates} learning rates, the loss of some noise is below that of plain training, by
        uncorrected intervals, {ResponseHelps}. Of the intervals of single curves with noise,
        {ResponseChance}. By means alone, the loss is lowest for {ResponseLeads}; with {ResponseBudgets}
        times the benchmark's budget, in this order, the best noise is below STE at {ResponseAhead}; and
        the order of the two hangs on the budget {ResponseMoves}.
    """,
    "recommendation": """
        By what tuning lost, use {RecommendationUse}. Within the margin of the least loss there lie
        {RecommendationNear}, the recommended one counted: where there are several, the choice is a
        matter of seeds. What costs less and lost at most the margin more: {RecommendationCheaper}. With
        one training for every width: {RecommendationOne}. On test seeds, against plain training rounded
        the same way, the loss of what is recommended is {RecommendationPlain}; with one training for
        every width it is {RecommendationOnePlain}. The loss of plain training that is not rounded is
        kept, up to the margin, {RecommendationKept}. Tried where nothing was chosen, the recommendation
        {RecommendationTransferHeld}.
    """,
    "deployment": """
        In ONNX Runtime, {DeploymentFiles} files of trained networks predict otherwise than fake
        quantization in {DeploymentDiffer} cases, and the largest change of the metric, in the mean of a
        network and width, is {DeploymentLargest}. Beside the file of floats, plain training's files
        take, over the networks, {DeploymentSaved}; their codes and steps take {DeploymentFloor} times
        bits times weights. With inputs of layers rounded to integers too, ONNX Runtime
        {DeploymentInEight}; ik_llama.cpp, which rounds them wherever weights are integers,
        {DeploymentInLlama}.
    """,
    "circuits": """
        In the mean over device channels and strengths, the accuracy of circuits trained with noise as
        published is, minus that of plain training, {CircuitsPublished}; with tuned noise,
        {CircuitsTuned}. Tuned noise minus training in its exact channel: {CircuitsChannel}.
    """,
    "claims": """
        Of {ClaimsColumns} verdicts on the paper's claims, {ClaimsTally}. They rest on {Count:claims}
        conditions.
    """,
}


def fill(experiment: str, macros: dict[str, str], read: Read) -> str:
    """The experiment's answer; macros as its exhibits make them. KeyError: one is missing."""
    values = {name: html.escape(value, quote=False) for name, value in macros.items()}
    answer = " ".join(ANSWERS[experiment].split())
    return answer.format_map(values | {kind: Lookup(kind, read) for kind in KINDS})
