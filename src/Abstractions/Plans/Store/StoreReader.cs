using FedRLora.Abstractions.Plans.Reading;

namespace FedRLora.Abstractions.Plans;

/// <summary><c>store</c>.</summary>
internal static class StoreReader
{
    public static StoreSpec Read(PlanSection plan) => plan.Section("store", new StoreSpec(), Store);

    private static StoreSpec Store(PlanSection store) =>
        StoreSpec.Of(store.Name("mode", "", StoreSpec.Modes), store.Name("durability", "", StoreSpec.Durabilities));
}
