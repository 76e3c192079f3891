using Xunit.Abstractions;
using Xunit.Sdk;

namespace FedRLora.Grains.Tests.Stores;

/// <summary>A test that needs azurite, or is skipped saying why.</summary>
public sealed class AzuriteFactAttribute : FactAttribute
{
    public AzuriteFactAttribute() => Skip = AzuriteServer.Absent!;
}

/// <summary>On a class whose <see cref="StoreFactAttribute"/> tests need azurite.</summary>
[AttributeUsage(AttributeTargets.Class)]
public sealed class NeedsAzuriteAttribute : Attribute;

/// <summary>A test of every store; whether it is skipped depends on the class that inherits it.</summary>
[XunitTestCaseDiscoverer("FedRLora.Grains.Tests.Stores.StoreFactDiscoverer", "FedRLora.Grains.Tests")]
public sealed class StoreFactAttribute : FactAttribute;

/// <inheritdoc/>
public sealed class StoreFactDiscoverer(IMessageSink messages) : IXunitTestCaseDiscoverer
{
    /// <inheritdoc/>
    public IEnumerable<IXunitTestCase> Discover(
        ITestFrameworkDiscoveryOptions discoveryOptions, ITestMethod testMethod, IAttributeInfo factAttribute) =>
        [new StoreTestCase(messages, discoveryOptions.MethodDisplayOrDefault(),
            discoveryOptions.MethodDisplayOptionsOrDefault(), testMethod)];
}

/// <inheritdoc/>
public sealed class StoreTestCase : XunitTestCase
{
    /// <summary>For the test host, which sends cases between processes.</summary>
    [Obsolete("Called by the deserializer.")]
    public StoreTestCase()
    {
    }

    public StoreTestCase(IMessageSink messages, TestMethodDisplay display, TestMethodDisplayOptions displayOptions, ITestMethod method)
        : base(messages, display, displayOptions, method)
    {
    }

    /// <inheritdoc/>
    protected override string GetSkipReason(IAttributeInfo factAttribute) =>
        TestMethod.TestClass.Class.GetCustomAttributes(typeof(NeedsAzuriteAttribute)).Any()
            ? AzuriteServer.Absent!
            : base.GetSkipReason(factAttribute);
}
