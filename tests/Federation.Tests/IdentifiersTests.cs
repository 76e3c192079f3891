using FedRLora.Abstractions;

namespace FedRLora.Federation.Tests;

public class IdentifiersTests
{
    [Theory]
    [InlineData("topic", true)]
    [InlineData("Topic", true)]
    [InlineData("a/b c", false)]
    [InlineData("..", false)]
    public void A_text_that_may_be_a_name_is_its_own(string text, bool isName)
    {
        Assert.Equal(isName, Identifiers.Of(text) == text);
        Assert.True(Identifiers.IsValid(Identifiers.Of(text)));
    }

    [Fact]
    public void A_text_that_looks_like_the_name_of_another_has_another_name()
    {
        var name = Identifiers.Of("a/b c");

        Assert.NotEqual(name, Identifiers.Of(name));
    }
}
