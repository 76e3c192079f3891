using FedRLora.Abstractions.Plans.Reading;
using static FedRLora.Abstractions.Plans.Reading.Interval;

namespace FedRLora.Abstractions.Plans;

/// <summary><c>clients</c>: a list, each item with the client's rows.</summary>
internal static class ClientReader
{
    private const string Example = "a list of clients, each with id, task and data";
    private const string Rows = "the client's rows: {train: file, test: file}";

    public static IReadOnlyList<ClientSpec> Read(PlanSection plan)
    {
        plan.Require("clients", Example);
        var none = new ClientSpec { Id = "", Task = "", Data = new() { Train = "" } };
        return plan.Items("clients", Example, "is not a client; give id, task and data.", none, Client);
    }

    private static ClientSpec Client(PlanSection client)
    {
        client.RefuseYet("rank");
        return new()
        {
            Id = client.RequiredIdentifier("id", "the client's id"),
            Task = client.RequiredText("task", "the client's task", Identifiers.MaxLength),
            Site = client.Identifier("site", "local"),
            Data = Data(client),
            Steps = client.OptionalInteger("steps", 1, Bounds.Rounds),
            LearningRate = client.OptionalNumber("learningRate", Above(0, 10)),
            Weight = client.Number("weight", 1, Above(0, Bounds.Many)),
        };
    }

    private static DataSpec Data(PlanSection client)
    {
        var none = new DataSpec { Train = "" };
        return client.Require("data", Rows) is ScalarNode { IsNull: true } empty
            ? client.Wrong(empty, "data", $"an empty value stands here; give {Rows}.", none)
            : client.Section("data", none, Files);
    }

    private static DataSpec Files(PlanSection data) => new()
    {
        Train = data.RequiredText("train", "a JSON Lines file with training rows", Bounds.PathLength),
        Test = data.OptionalText("test", Bounds.PathLength),
        Offset = data.Integer("offset", 0, 0, int.MaxValue),
        Rows = data.OptionalInteger("rows", 1, int.MaxValue),
        ShuffleLabels = data.Flag("shuffleLabels", false),
    };
}
