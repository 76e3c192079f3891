using FedRLora.Abstractions.Plans.Reading;

namespace FedRLora.Abstractions.Plans;

/// <summary><c>model</c>: a folder, or a section with its path.</summary>
internal static class ModelReader
{
    private const string What = "the folder or GGUF file of the base model";

    public static ModelSpec Read(PlanSection plan)
    {
        var none = new ModelSpec { Path = "" };
        return plan.Require("model", What) is ScalarNode { IsNull: true } empty
            ? plan.Wrong(empty, "model", $"an empty value stands here; give {What}.", none)
            : plan.Section("model", none, Model, shorthand: "path");
    }

    private static ModelSpec Model(PlanSection model) => new()
    {
        Path = model.RequiredText("path", What, Bounds.PathLength),
        Storage = model.Choice("storage", WeightStorage.AsStored),
    };
}
