using FedRLora.Abstractions.Plans.Reading;
using static FedRLora.Abstractions.Plans.Reading.Interval;

namespace FedRLora.Abstractions.Plans;

/// <summary><c>faults</c>: a list of what goes wrong on purpose.</summary>
internal static class FaultReader
{
    private const string Example = "a list of faults, each with kind and clients or share";

    public static IReadOnlyList<FaultSpec> Read(PlanSection plan) => plan.Items(
        "faults", Example, "is not a fault; give kind and clients or share.", new FaultSpec { Kind = FaultKind.Fail }, Fault);

    private static FaultSpec Fault(PlanSection fault)
    {
        fault.Require("kind", "what goes wrong");
        return new()
        {
            Kind = fault.Choice("kind", FaultKind.Fail),
            Clients = fault.Names("clients", "a client").Names ?? [],
            Share = fault.OptionalNumber("share", Above(0, 1)),
            Probability = fault.Number("probability", 1, Above(0, 1)),
            Rounds = fault.Section("rounds", new FaultRounds(), Rounds),
            Delay = fault.Duration("delay", Bounds.Wait),
            Scale = fault.OptionalNumber("scale", Above(0, 1e30)),
        };
    }

    private static FaultRounds Rounds(PlanSection rounds) => new()
    {
        From = rounds.Integer("from", 1, 1, Bounds.Rounds),
        To = rounds.OptionalInteger("to", 1, Bounds.Rounds),
        Every = rounds.OptionalInteger("every", 1, Bounds.Rounds),
        Lasting = rounds.OptionalInteger("lasting", 1, Bounds.Rounds),
    };
}
